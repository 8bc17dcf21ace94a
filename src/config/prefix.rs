//! A prefix of addresses, as the options have them: the only door to `ipnet`. RFC 4632, RFC 4291 §2.3
//!
//! The one idea: an address has one spelling, and so has a prefix: what IPv6 has mapped of IPv4 (RFC 4291 §2.5.5.2) is IPv4,
//! and no bit is set beyond the length.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

/// An address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix(IpNet);

/// What is neither an address nor a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPrefix;

impl Prefix {
    /// Whether an address, in whichever spelling, begins so.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Prefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Prefix, NoPrefix> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Prefix(address.to_canonical().into()));
        }
        let prefix = text.parse::<IpNet>().map_err(|_| NoPrefix)?;
        let mapped = match prefix {
            IpNet::V6(prefix) => prefix.addr().to_ipv4_mapped().zip(prefix.prefix_len().checked_sub(96)),
            IpNet::V4(_) => None,
        };
        let prefix = match mapped {
            Some((address, length)) => Ipv4Net::new(address, length).map_err(|_| NoPrefix)?.into(),
            None => prefix,
        };
        Ok(Prefix(prefix.trunc()))
    }
}

impl TryFrom<String> for Prefix {
    type Error = NoPrefix;

    fn try_from(text: String) -> Result<Prefix, NoPrefix> {
        text.parse()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(formatter)
        } else {
            self.0.fmt(formatter)
        }
    }
}

impl fmt::Display for NoPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("neither an IP address nor a prefix of some")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_one_spelling() {
        for (written, spelled) in [
            ("127.0.0.1", "127.0.0.1"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("192.168.1.9/24", "192.168.1.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("fd00::1/128", "fd00::1"),
        ] {
            assert_eq!(written.parse::<Prefix>().map(|prefix| prefix.to_string()).as_deref(), Ok(spelled), "{written}");
        }
        for wrong in
            ["", "localhost", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.1:80", "[::1]", "/8", "10.0.0.0/", " ::1"]
        {
            assert_eq!(wrong.parse::<Prefix>(), Err(NoPrefix), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_compared_in_its_one_spelling() {
        let has = |prefix: &str, address: &str| prefix.parse::<Prefix>().unwrap().contains(address.parse().unwrap());
        assert!(has("10.0.0.0/8", "10.255.0.1") && has("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(has("fd00::/8", "fdff::1") && has("0.0.0.0/0", "8.8.8.8"));
        assert!(!has("10.0.0.0/8", "11.0.0.1") && !has("::1", "127.0.0.1") && !has("::/0", "127.0.0.1"));
    }
}
