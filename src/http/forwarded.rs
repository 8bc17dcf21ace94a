//! Whom a request was handed on for, as the proxies on its way have written it down: `Forwarded` and `X-Forwarded-For`.
//!
//! The one idea: each proxy appends who asked it, so the list is read from the right, and only for as long as a proxy that is
//! believed has written it: what stands left of that is whatever a client likes. Quotes too are paired from the right, or a
//! client could open one that swallows what a proxy has appended. RFC 7239 §4, §5.2, §6, §7.1

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{FORWARDED_HOPS_MAX, FORWARDED_LINES_MAX};

/// The lines of the one of the two fields that is there. The last ones are kept, inline.
///
/// Where both are there, nobody knows which of them the proxy has added to, and which it has passed on as its client made it up:
/// then none is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trail<'a> {
    lines: [&'a [u8]; FORWARDED_LINES_MAX],
    count: usize,
    form: Option<Form>,
    has_both: bool,
}

/// How the members of a list are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `X-Forwarded-For`: an address, with or without a port.
    Address,
    /// `Forwarded`: pairs such as `for="[2001:db8::1]:4711"`.
    Pairs,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// From where, in its one spelling.
    pub address: IpAddr,
    /// Whether that is its own address, and not that of a proxy before which nobody is known.
    pub is_known: bool,
}

impl<'a> Trail<'a> {
    pub(super) fn take(&mut self, form: Form, line: &'a [u8]) {
        if *self.form.get_or_insert(form) != form {
            (self.count, self.has_both) = (0, true);
        }
        if self.has_both {
            return;
        }
        if self.count == self.lines.len() {
            self.lines.rotate_left(1);
            self.count -= 1;
        }
        self.lines[self.count] = line;
        self.count += 1;
    }

    /// Who asks by a proxy at `peer`: the last one in the list that is no proxy to be believed. Where somebody stands there of
    /// whom no address can be read, or nobody, it is the last proxy whose address is known.
    pub fn client(&self, peer: IpAddr, is_believed: impl Fn(IpAddr) -> bool) -> Client {
        let mut address = peer;
        let mut hops = self.hops().take(FORWARDED_HOPS_MAX);
        while is_believed(address) {
            match hops.next().flatten() {
                Some(hop) => address = hop,
                None => return Client { address, is_known: false },
            }
        }
        Client { address, is_known: address != peer }
    }

    /// The members of the list from the right: an address, or nothing where none can be read.
    fn hops(&self) -> impl Iterator<Item = Option<IpAddr>> {
        let Trail { lines, count, form, .. } = *self;
        let lines = lines.into_iter().take(count).rev();
        lines.zip(form.into_iter().cycle()).flat_map(|(line, form)| Members { rest: Some(line), form })
    }
}

/// The members of one line from the right. Empty ones are skipped (RFC 9110 §5.6.1).
struct Members<'a> {
    rest: Option<&'a [u8]>,
    form: Form,
}

impl Iterator for Members<'_> {
    type Item = Option<IpAddr>;

    fn next(&mut self) -> Option<Option<IpAddr>> {
        loop {
            let rest = self.rest.take()?;
            let comma = match self.form {
                Form::Address => rest.iter().rposition(|byte| *byte == b','),
                Form::Pairs => last_comma(rest),
            };
            let (before, member) = comma.map_or((None, rest), |comma| (rest.get(..comma), &rest[comma + 1..]));
            self.rest = before;
            let member = member.trim_ascii();
            if !member.is_empty() {
                return Some(match self.form {
                    Form::Address => bare_address(member),
                    Form::Pairs => address_of_pairs(member),
                });
            }
        }
    }
}

/// The last comma that stands outside of quotes.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    let is_escaped = |index: usize| line[..index].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    for (index, byte) in line.iter().enumerate().rev() {
        match byte {
            b'"' if !is_escaped(index) => is_quoted = !is_quoted,
            b',' if !is_quoted => return Some(index),
            _ => {}
        }
    }
    None
}

/// `for=192.0.2.43;proto=http`. A name that stands there twice says nothing. RFC 7239 §4
fn address_of_pairs(member: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in pairs(member) {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        if quoted.is_none() && value.contains(&b'"') {
            return None; // A quote that does not end.
        }
        if name.eq_ignore_ascii_case(b"for") && found.replace(quoted.unwrap_or(value)).is_some() {
            return None;
        }
    }
    node(str::from_utf8(found?).ok()?)
}

/// What stands between semicolons outside of quotes; nothing is escaped outside of these.
fn pairs(member: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_end = move |byte: &u8| {
        let was_escaped = std::mem::replace(&mut is_escaped, false);
        match byte {
            b'\\' => is_escaped = is_quoted && !was_escaped,
            b'"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        *byte == b';' && !is_quoted
    };
    member.split(is_end).map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

/// No specification says how these are written: an address of IPv6 stands with brackets or without.
fn bare_address(member: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(member).ok()?;
    text.parse::<Ipv6Addr>().map_or_else(|_| node(text), |address| Some(IpAddr::from(address).to_canonical()))
}

/// `192.0.2.43`, `192.0.2.43:47011`, `[2001:db8::1]` or `[2001:db8::1]:_port`. What hides behind a name (`unknown`, `_hidden`)
/// has no address. RFC 7239 §6
fn node(text: &str) -> Option<IpAddr> {
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (IpAddr::from(address.parse::<Ipv6Addr>().ok()?), port)
        }
        None => {
            let (address, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (IpAddr::from(address.parse::<Ipv4Addr>().ok()?), port)
        }
    };
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then(|| address.to_canonical())
}

/// RFC 7239 §6.2
fn is_port(text: &str) -> bool {
    let is_hidden = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let is_number = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number || text.strip_prefix('_').is_some_and(is_hidden)
}

#[cfg(test)]
mod tests;
