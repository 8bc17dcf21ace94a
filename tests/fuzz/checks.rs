//! One file a target. Each takes any bytes and panics if the grammar says something wrong about them.

pub mod chunk;
pub mod conditional;
pub mod multipart;
pub mod range;
pub mod request;
pub mod target;

/// Takes small numbers from the beginning of the input, and leaves the rest as text or bytes.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte; 0 when there is none.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// The next two bytes as a number.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Everything up to the next 0, or to the end.
    pub fn until_zero(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        taken
    }
}
