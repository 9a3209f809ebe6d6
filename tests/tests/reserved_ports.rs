//! The ports that these tests reserve for their servers are given to nobody else, whatever the kernel is asked for.

use crate::root;
use kms_testkit::ReservedPort;
use std::net::TcpListener;
use std::process::Command;
use zonekms_tests::python::run;

#[test]
fn a_reserved_port_is_given_to_nobody() {
    let port = ReservedPort::reserve();
    let given = who_is_given(&port);
    if given == "unsupported" {
        println!(
            "this kernel gives any port of its range: that it never gives a reserved one is not shown by this test"
        );
        return;
    }
    assert_eq!(given, "nobody", "before the server runs");
    let server = TcpListener::bind(port.address()).unwrap();
    // Whoever calls the port now is another caller of the server's, on a port that is given.
    assert_eq!(who_is_given(&port), "nobody", "while it runs");
    drop(server);
    assert_eq!(who_is_given(&port), "nobody", "after its end");
}

/// The same questions about ports that are free get the other answer: all are given it, also who calls a server that does not
/// listen yet, and so becomes that server.
#[test]
fn a_free_port_is_given_to_anybody() {
    let all = "bind, bind with SO_REUSEADDR, bind on all addresses, call a server, call the port itself";
    let answers: Vec<String> = (0..20)
        .map(|_| {
            let port = ReservedPort::reserve();
            let number = port.address().port();
            drop(port);
            ask(number)
        })
        // A port that is free may be another's a moment later, which is what this is about.
        .take_while(|given| given != all && given != "unsupported")
        .collect();
    assert!(answers.len() < 20, "{answers:?}");
}

fn who_is_given(port: &ReservedPort) -> String {
    ask(port.address().port())
}

fn ask(port: u16) -> String {
    let mut script = Command::new("python3");
    script.arg(root().join("tests/python/who_is_given.py")).arg(port.to_string());
    run(&mut script, "python3").trim().to_owned()
}
