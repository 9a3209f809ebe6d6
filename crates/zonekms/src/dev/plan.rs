//! What `zonekms dev` is asked for, checked before anything is made.

use std::net::SocketAddr;
use std::path::PathBuf;

use kms_types::{KeyName, ZoneName};

use crate::cli::DevArguments;

/// A lab to run.
#[derive(Debug)]
pub(super) struct DevPlan {
    pub(super) data_dir: PathBuf,
    pub(super) default_key: Option<KeyName>,
    listen: SocketAddr,
    zones: Vec<ZoneName>,
}

/// Why there can be no such lab.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanFault {
    #[error(
        "--listen {0} is not a loopback address: a lab has plain HTTP and a clock that anyone can move; use `zonekms serve`"
    )]
    NotLoopback(SocketAddr),
    #[error("--zones names {0} twice")]
    RepeatedZone(ZoneName),
    #[error("--zones names no zone")]
    NoZones,
    #[error("--listen {listen} leaves no room for {count} zones and the lab below port 65536")]
    NoRoom { listen: SocketAddr, count: usize },
}

impl DevPlan {
    pub(super) fn new(arguments: DevArguments) -> Result<Self, PlanFault> {
        let DevArguments { data_dir, listen, zones, default_key } = arguments;
        if !listen.ip().is_loopback() {
            return Err(PlanFault::NotLoopback(listen));
        }
        if zones.is_empty() {
            return Err(PlanFault::NoZones);
        }
        for (at, zone) in zones.iter().enumerate() {
            if zones.iter().take(at).any(|earlier| earlier == zone) {
                return Err(PlanFault::RepeatedZone(zone.clone()));
            }
        }
        if listen.port() != 0 && usize::from(u16::MAX - listen.port()) < zones.len() {
            return Err(PlanFault::NoRoom { listen, count: zones.len() });
        }
        Ok(Self { data_dir, default_key, listen, zones })
    }

    /// Each zone with the address to bind: consecutive ports, or port 0 for all.
    pub(super) fn zone_addresses(&self) -> impl Iterator<Item = (ZoneName, SocketAddr)> {
        self.zones.iter().cloned().zip(self.addresses())
    }

    /// The address of the lab listener: the port after the last zone's, or port 0.
    pub(super) fn lab_address(&self) -> SocketAddr {
        self.addresses().nth(self.zones.len()).unwrap_or(self.listen)
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let first = self.listen;
        (0..=u16::MAX).map(move |step| {
            let port = if first.port() == 0 { 0 } else { first.port().saturating_add(step) };
            SocketAddr::new(first.ip(), port)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(listen: &str, zones: &[&str]) -> Result<DevPlan, PlanFault> {
        DevPlan::new(DevArguments {
            data_dir: PathBuf::from("d"),
            listen: listen.parse().unwrap(),
            zones: zones.iter().map(|zone| zone.parse().unwrap()).collect(),
            default_key: None,
        })
    }

    #[test]
    fn zones_and_lab_follow_each_other() {
        let plan = plan("127.0.0.1:8080", &["a", "b", "c"]).unwrap();
        let ports: Vec<u16> = plan.zone_addresses().map(|(_, address)| address.port()).collect();
        assert_eq!((ports, plan.lab_address().port()), (vec![8080, 8081, 8082], 8083));
    }

    #[test]
    fn port_zero_asks_for_free_ports() {
        let plan = plan("[::1]:0", &["a", "b"]).unwrap();
        assert!(plan.zone_addresses().all(|(_, address)| address.port() == 0));
        assert_eq!(plan.lab_address().port(), 0);
    }

    #[test]
    fn the_last_ports_are_used_but_not_exceeded() {
        assert_eq!(plan("127.0.0.1:65534", &["a"]).unwrap().lab_address().port(), 65_535);
        assert!(matches!(plan("127.0.0.1:65535", &["a"]), Err(PlanFault::NoRoom { .. })));
    }

    #[test]
    fn a_lab_stays_on_this_machine_and_zones_differ() {
        for address in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080"] {
            assert!(matches!(plan(address, &["a"]), Err(PlanFault::NotLoopback(_))), "{address}");
        }
        assert_eq!(plan("127.0.0.1:1", &["a", "b", "a"]).unwrap_err(), PlanFault::RepeatedZone("a".parse().unwrap()));
        assert_eq!(plan("127.0.0.1:1", &[]).unwrap_err(), PlanFault::NoZones);
    }
}
