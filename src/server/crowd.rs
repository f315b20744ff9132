//! How many connections each address has, so that no single one takes all the places there are.
//!
//! Of IPv6 a network of 64 bits is one address, since whoever has one has all of them. Loopback is counted as any
//! other: whoever is on this machine may call from many of its addresses, but a client that leaks connections does not.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections of each address. A handle: cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd(Arc<Mutex<HashMap<IpAddr, u32, foldhash::fast::RandomState>>>);

/// A connection of an address, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Crowd,
    address: IpAddr,
}

/// What counts as one.
fn one(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
    }
}

impl Crowd {
    /// A place for one more connection of this address, unless it has as many as it may.
    pub(super) fn admit(&self, address: IpAddr, most: u32) -> Option<Place> {
        let address = one(address);
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        let of = self.clone();
        Some(Place { of, address })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, u32, foldhash::fast::RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.of.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            // Who has left leaves nothing behind.
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_and_others_have_theirs() {
        let crowd = Crowd::default();
        let one = address("192.0.2.1");
        let mut places: Vec<_> = (0..2).map(|_| crowd.admit(one, 2).unwrap()).collect();
        assert!(crowd.admit(one, 2).is_none());
        let other = crowd.admit(address("192.0.2.2"), 2);
        assert!(other.is_some());
        places.pop();
        places.push(crowd.admit(one, 2).unwrap());
        assert!(crowd.admit(one, 2).is_none());
        drop((places, other));
        assert!(crowd.counts().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_an_address_of_ipv4_is_itself_however_it_is_written() {
        for (text, same, other) in [
            (
                "2001:db8:1:2::1",
                "2001:db8:1:2:ffff:ffff:ffff:ffff",
                "2001:db8:1:3::1",
            ),
            ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
        ] {
            let crowd = Crowd::default();
            let _place = crowd.admit(address(text), 1).unwrap();
            assert!(crowd.admit(address(same), 1).is_none(), "{same}");
            assert!(crowd.admit(address(other), 1).is_some(), "{other}");
        }
    }
}
