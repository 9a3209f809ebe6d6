//! Both official Python clients, unmodified, drive all 16 operations; every answer is valid under the API descriptions
//! that both of them ship.

use crate::{program, scratch_in_memory, venv};
use zonekms_tests::python::{Sdk, run};
use zonekms_tests::server::{Dev, Server};

#[test]
fn todays_client() {
    drive(Sdk::V0_16_4);
}

#[test]
fn the_client_of_the_first_months() {
    drive(Sdk::V0_16_3);
}

fn drive(sdk: Sdk) {
    let descriptions = [venv(Sdk::V0_16_4).openapi(), venv(Sdk::V0_16_3).openapi()];
    let directory = scratch_in_memory();
    let dev = Dev::new(program(), directory.path()).zones(&["ch-gva-2", "ch-dk-2"]).default_key("default-key");
    let server = dev.start();
    let figures = run(with_environment(venv(sdk).script("sdk_conformance.py").args(&descriptions), &server), "PyPI");
    println!("exoscale {}: {figures}", sdk.version());
    server.stop();
}

/// The command with the variables of `dev.env`.
pub(crate) fn with_environment<'a>(
    command: &'a mut std::process::Command,
    server: &Server,
) -> &'a mut std::process::Command {
    command
        .env("EXOSCALE_API_KEY", &server.environment.credential.id)
        .env("EXOSCALE_API_SECRET", &server.environment.credential.secret)
        .env("EXOSCALE_API_ENDPOINT", server.endpoint())
        .env("EXOSCALE_ZONE", &server.environment.zone)
        .env("ZONEKMS_LAB", format!("http://{}", server.environment.lab))
}
