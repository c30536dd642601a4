//! The client address of a request: the peer of its connection or, behind trusted proxies, the address
//! that they forward.
//!
//! Each proxy appends the address of its own peer. From the right, the first address that is not a
//! trusted proxy is the client; everything further left is under the client's control and ignored.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr as _,
};

use actix_web::{
    dev::RequestHead,
    http::header::{self, HeaderMap},
};
use ipnet::IpNet;

use crate::config::ForwardedHeader;

/// The trusted proxies, and the header in which they forward addresses.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Networks of trusted proxies.
    pub trusted: Vec<IpNet>,
    /// The header that is read. Never both, because proxies pass on an unknown header unchanged.
    pub header: ForwardedHeader,
}

impl Proxies {
    fn trust(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// The client address of a request.
    pub fn client(&self, head: &RequestHead) -> IpAddr {
        // requests in tests and over Unix sockets have no peer address
        let peer = head.peer_addr.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        self.origin(peer.to_canonical(), head.headers())
    }

    fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trust(peer) {
            return peer;
        }
        let name = match self.header {
            ForwardedHeader::XForwardedFor => header::X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => header::FORWARDED,
        };
        let lines: Vec<_> = headers.get_all(name).collect();
        let mut last = peer;
        for line in lines.into_iter().rev() {
            // a line that is not text counts as one unreadable hop
            let line = line.to_str().unwrap_or_default();
            for hop in line.rsplit(',') {
                let named = match self.header {
                    ForwardedHeader::XForwardedFor => Some(hop),
                    ForwardedHeader::Forwarded => for_of(hop),
                };
                match named.and_then(address) {
                    Some(address) if self.trust(address) => last = address,
                    Some(address) => return address,
                    // obfuscated or invalid: fall back to the last trusted hop
                    None => return last,
                }
            }
        }
        last
    }
}

/// The value of `for=` in an element of `Forwarded` (RFC 7239).
fn for_of(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    Some(node.trim().trim_matches('"'))
}

/// Parses an address with or without a port, such as `192.0.2.1:80` or `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || SocketAddr::from_str(text).map(|socket| socket.ip());
    IpAddr::from_str(bare).or_else(|_| with_port()).ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn proxies(header: ForwardedHeader) -> Proxies {
        let trusted = ["10.0.0.0/8", "2001:db8:ffff::/48"].map(|net| net.parse().unwrap());
        Proxies { trusted: trusted.to_vec(), header }
    }

    fn origin(header: ForwardedHeader, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            let value = HeaderValue::from_str(line).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        proxies(header).origin(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_rightmost_untrusted_hop_is_the_client() {
        let peer = "10.0.0.1";
        for (lines, client) in [
            (&[][..], "10.0.0.1"),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["1.1.1.1, 192.0.2.1"], "192.0.2.1"),
            (&["1.1.1.1, 192.0.2.1, 10.9.9.9"], "192.0.2.1"),
            (&["1.1.1.1", "192.0.2.1,10.9.9.9", "10.8.8.8"], "192.0.2.1"),
            (&["192.0.2.1:4711"], "192.0.2.1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["2001:db8::1, 2001:db8:ffff::7"], "2001:db8::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            (&["1.1.1.1, unknown, 10.2.2.2"], "10.2.2.2"),
            (&["1.1.1.1, "], "10.0.0.1"),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            let found = origin(ForwardedHeader::XForwardedFor, peer, &lines);
            assert_eq!(found, client, "{lines:?}");
        }
    }

    #[test]
    fn an_untrusted_peer_cannot_set_the_client_address() {
        let lines = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")];
        for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            assert_eq!(origin(header, "203.0.113.9", &lines), "203.0.113.9");
            assert_eq!(origin(header, "10.0.0.1", &lines), "192.0.2.1");
        }
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let lines = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=198.51.100.2")];
        assert_eq!(origin(ForwardedHeader::XForwardedFor, "10.0.0.1", &lines), "192.0.2.1");
        assert_eq!(origin(ForwardedHeader::Forwarded, "10.0.0.1", &lines), "198.51.100.2");
    }

    #[test]
    fn the_header_forwarded_is_parsed() {
        for (line, client) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"[2001:db8::1]:4711\";proto=https;by=10.0.0.1", "2001:db8::1"),
            ("for=1.1.1.1, proto=https;for=192.0.2.1, for=10.3.3.3", "192.0.2.1"),
            ("for=1.1.1.1, for=_hidden", "10.0.0.1"),
            ("for=1.1.1.1, proto=https", "10.0.0.1"),
        ] {
            let lines = [("forwarded", line)];
            assert_eq!(origin(ForwardedHeader::Forwarded, "10.0.0.1", &lines), client, "{line}");
        }
    }

    proptest! {
        /// The address that the proxy appends decides.
        #[test]
        fn nothing_a_client_writes_changes_the_client(
            junk in proptest::collection::vec(any::<u8>(), 0..300),
            standard: bool,
        ) {
            let (name, hop, header) = if standard {
                (header::FORWARDED, "for=192.0.2.1", ForwardedHeader::Forwarded)
            } else {
                (header::X_FORWARDED_FOR, "192.0.2.1", ForwardedHeader::XForwardedFor)
            };
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&junk) {
                headers.append(name.clone(), value);
            }
            headers.append(name, HeaderValue::from_static(hop));
            let proxies = proxies(header);
            let peer = IpAddr::from([10, 0, 0, 1]);
            prop_assert_eq!(proxies.origin(peer, &headers).to_string(), "192.0.2.1");
        }
    }
}
