//! `zonekms inspect` on good and bad input.

use std::io::Write;
use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::program::{run, text, zonekms};

/// Format 1, a key id, material version 7, nonce 00..17, five bytes of ciphertext, a tag of 0xee.
fn ciphertext() -> String {
    let mut bytes = vec![1];
    bytes.extend(hex::decode("019eef1973ef7ce39ea1fcaa367ebd8d").unwrap());
    bytes.extend(7_u32.to_be_bytes());
    bytes.extend(0..24);
    bytes.extend(b"12345");
    bytes.extend([0xee; 16]);
    BASE64_STANDARD.encode(bytes)
}

const SHOWN: &str = "\
format version    1
key id            019eef19-73ef-7ce3-9ea1-fcaa367ebd8d
material version  7
nonce             000102030405060708090a0b0c0d0e0f1011121314151617
plaintext         5 bytes
ciphertext        66 bytes, 61 of them overhead
";

#[test]
fn a_ciphertext_says_what_it_is() {
    let output = run(&["inspect", &ciphertext()]);
    assert_eq!((text(&output.stdout), output.status.code()), (SHOWN, Some(0)));
}

#[test]
fn standard_input_may_be_broken_into_lines() {
    let mut child = zonekms(&["inspect", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (head, tail) = {
        let all = ciphertext();
        (all[..40].to_owned(), all[40..].to_owned())
    };
    child.stdin.take().unwrap().write_all(format!("{head}\n{tail}\n").as_bytes()).unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), SHOWN);
}

#[test]
fn anything_else_is_refused_with_the_reason() {
    let mut version_zero = BASE64_STANDARD.decode(ciphertext()).unwrap();
    version_zero[17..21].fill(0);
    for (argument, message) in [
        (String::new(), "there is no ciphertext"),
        ("not base64!".to_owned(), "this is not standard base64 with padding: Invalid symbol 33, offset 9."),
        (
            BASE64_STANDARD.encode([1; 60]),
            "this is not a ZoneKMS ciphertext: a ciphertext has at least 61 bytes, this has 60",
        ),
        (
            BASE64_STANDARD.encode([2; 66]),
            "this is not a ZoneKMS ciphertext: ciphertext format 2 is unknown; this version reads format 1",
        ),
        (
            BASE64_STANDARD.encode(version_zero),
            "this is not a ZoneKMS ciphertext: the ciphertext names material version 0, which does not exist",
        ),
        ("-AAA".to_owned(), "this is not standard base64 with padding: Invalid symbol 45, offset 0."),
    ] {
        let output = run(&["inspect", &argument]);
        assert_eq!(text(&output.stderr), format!("zonekms: {message}\n"), "{argument}");
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{argument}");
    }
}
