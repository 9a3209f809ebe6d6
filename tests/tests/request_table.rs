//! The tables of bad requests: `tests/bad-requests/README.md` describes their format.

use std::collections::BTreeMap;
use zonekms_tests::client::{base64, unbase64};
use zonekms_tests::exo2::{Credential, Signed, unix_now};
use zonekms_tests::problem::{self, Fault};

const USUAL_SIGNATURE: &str = "EXO2-HMAC-SHA256 credential=<credential>,expires=<expires>,signature=<signature>";

/// What a row must be answered.
#[derive(Debug)]
pub(crate) enum Expected {
    /// This document with this status.
    Problem { status: u16, document: String, allow: Option<String> },
    /// This status; the document is the HTTP library's.
    Status(u16),
}

/// One row, with its placeholders still in it.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) title: String,
    send: (String, String),
    body: Body,
    headers: Vec<(String, String)>,
    signs: Vec<String>,
    expires: Option<String>,
    covers: BTreeMap<String, String>,
    raw: Option<String>,
    gives: String,
    faults: Vec<Fault>,
    allow: Option<String>,
}

#[derive(Debug, Default)]
enum Body {
    #[default]
    None,
    Text(String),
    Bytes(Vec<u8>),
}

/// A row ready to be sent.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) method: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Expected,
}

/// Reads the rows of one table.
pub(crate) fn parse(text: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(directive) = line.strip_prefix("    ") else {
            rows.push(Row { title: line.to_owned(), ..Row::default() });
            continue;
        };
        let row = rows.last_mut().unwrap_or_else(|| panic!("a directive before the first row: {line}"));
        let (keyword, rest) = directive.split_once(' ').unwrap_or((directive, ""));
        row.directive(keyword, rest);
    }
    for row in &rows {
        assert!(!row.send.0.is_empty() && !row.gives.is_empty(), "row without send or gives: {}", row.title);
    }
    rows
}

impl Row {
    fn directive(&mut self, keyword: &str, rest: &str) {
        let pair = |separator: &str| {
            let (first, second) = rest.split_once(separator).unwrap_or((rest, ""));
            (first.to_owned(), second.to_owned())
        };
        match keyword {
            "send" => self.send = pair(" "),
            "body" => self.body = Body::Text(rest.to_owned()),
            "hex" => self.body = Body::Bytes(hex::decode(rest).unwrap()),
            "header" => self.headers.push(pair(": ")),
            "sign" => self.signs.push(rest.to_owned()),
            "expires" => self.expires = Some(rest.to_owned()),
            "covers" => {
                let (what, value) = pair(" ");
                self.covers.insert(what, value);
            }
            "raw" => self.raw = Some(rest.to_owned()),
            "gives" => self.gives = rest.to_owned(),
            "fault" => {
                let (path, detail) = pair(": ");
                self.faults.push(Fault::at(&path, &detail));
            }
            "allow" => self.allow = Some(rest.to_owned()),
            other => panic!("{}: unknown directive {other}", self.title),
        }
    }

    /// The bytes to send and the answer to expect, given what the words stand for and who signs.
    pub(crate) fn prepare(&self, words: &BTreeMap<String, String>, credential: &Credential) -> Prepared {
        let fill = |text: &str| expand(text, &|word| lookup(word, words));
        let (method, target) = (self.send.0.clone(), fill(&self.send.1));
        let body = match &self.body {
            Body::None => Vec::new(),
            Body::Text(text) => fill(text).into_bytes(),
            Body::Bytes(bytes) => bytes.clone(),
        };
        let expires = at_now(self.expires.as_deref().unwrap_or("now+600"));
        let covered = |what: &str, otherwise: &str| match self.covers.get(what) {
            Some(text) => fill(text),
            None => otherwise.to_owned(),
        };
        let covered_body = match self.covers.get("body") {
            Some(text) => fill(text).into_bytes(),
            None => body.clone(),
        };
        let path = target.split('?').next().unwrap();
        let signature = Signed {
            method: &covered("method", &method),
            path: &covered("path", path),
            body: &covered_body,
            query_values: &covered("query", ""),
            expires: &expires,
        }
        .signature(&covered("secret", &credential.secret));

        let authorization = |template: &str| {
            expand(template, &|word| match word {
                "credential" => Some(credential.id.clone()),
                "expires" => Some(expires.clone()),
                _ => match word.strip_prefix("signature") {
                    Some(how) => Some(damaged_signature(&signature, how)),
                    None if word.starts_with("now") => Some(at_now(word)),
                    None => lookup(word, words),
                },
            })
        };
        let headers = match self.signs.as_slice() {
            [] => vec![authorization(USUAL_SIGNATURE)],
            [none] if none == "none" => Vec::new(),
            templates => templates.iter().map(|template| authorization(template)).collect(),
        };
        let bytes = match &self.raw {
            Some(raw) => {
                let many = "X-Many: 1\r\n".repeat(120);
                let text = expand(raw, &|word| match word {
                    "authorization" => headers.first().cloned(),
                    "many-headers" => Some(many.clone()),
                    _ => lookup(word, words),
                });
                unescape(&text)
            }
            None => {
                let mut head = format!("{method} {target} HTTP/1.1\r\nHost: kms.test\r\n");
                for value in &headers {
                    head.push_str(&format!("Authorization: {value}\r\n"));
                }
                for (name, value) in &self.headers {
                    head.push_str(&format!("{name}: {}\r\n", fill(value)));
                }
                if !body.is_empty() || method == "POST" {
                    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                [head.as_bytes(), b"\r\n", &body].concat()
            }
        };
        Prepared { method, bytes, expected: self.expected() }
    }

    fn expected(&self) -> Expected {
        let allow = self.allow.clone();
        if self.gives == "faults" {
            return Expected::Problem { status: 400, document: problem::faults_document(&self.faults), allow };
        }
        assert!(self.faults.is_empty(), "{}: faults need `gives faults`", self.title);
        let Some((status, rest)) = self.gives.split_once(' ') else {
            return Expected::Status(self.gives.parse().unwrap());
        };
        let status = status.parse().unwrap();
        let (title, detail) = rest.split_once(": ").unwrap_or_else(|| panic!("{}: no detail", self.title));
        Expected::Problem { status, document: problem::document(status, title, detail, &[]), allow }
    }
}

/// Replaces every `<word>` by what `meaning` says.
fn expand(text: &str, meaning: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').unwrap_or_else(|| panic!("an open < in {text}"));
        let word = &rest[start + 1..end];
        out.push_str(&rest[..start]);
        out.push_str(&meaning(word).unwrap_or_else(|| panic!("<{word}> means nothing, in {text}")));
        rest = &rest[end + 1..];
    }
    out + rest
}

fn lookup(word: &str, words: &BTreeMap<String, String>) -> Option<String> {
    if let Some(value) = words.get(word) {
        return Some(value.clone());
    }
    let (name, how) = word.rsplit_once(':')?;
    if let Ok(count) = how.parse::<usize>() {
        return Some(if name == "base64" { base64(&vec![0; count]) } else { name.repeat(count) });
    }
    let bytes = unbase64(words.get(name)?);
    Some(base64(&damaged_ciphertext(bytes, how, words)?))
}

fn damaged_ciphertext(mut bytes: Vec<u8>, how: &str, words: &BTreeMap<String, String>) -> Option<Vec<u8>> {
    let (verb, count) = how.split_once(' ')?;
    match (verb, count) {
        ("without", "last") => drop(bytes.pop()),
        ("with", "one more") => bytes.push(0),
        ("with", "id of enabled") => {
            let id = hex::decode(words.get("enabled")?.replace('-', "")).ok()?;
            bytes.get_mut(1..17)?.copy_from_slice(&id);
        }
        ("first", count) => bytes.truncate(count.parse().ok()?),
        ("flip", index) => *bytes.get_mut(index.parse::<usize>().ok()?)? ^= 1,
        (_, _) => return None,
    }
    Some(bytes)
}

fn damaged_signature(signature: &[u8; 32], how: &str) -> String {
    let text = base64(signature);
    match how {
        "" => text,
        ":first 1" => base64(&signature[..1]),
        ":first 31" => base64(&signature[..31]),
        ":with one more" => base64(&[&signature[..], &[0]].concat()),
        ":twice" => base64(&[&signature[..], &signature[..]].concat()),
        ":unpadded" => text.trim_end_matches('=').to_owned(),
        ":hex" => hex::encode(signature),
        ":blank" => format!("{} {}", &text[..20], &text[20..]),
        // A signature without `+` and `/` reads the same in both alphabets: then one letter is changed, too.
        ":url" => {
            let url = text.replace('+', "-").replace('/', "_");
            if url == text { format!("-{}", &text[1..]) } else { url }
        }
        // 32 bytes leave two unused bits in the last letter before the padding.
        ":trailing bits" => {
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let last = alphabet.find(&text[42..43]).unwrap();
            format!("{}{}=", &text[..42], &alphabet[last + 1..last + 2])
        }
        other => panic!("<signature{other}> means nothing"),
    }
}

/// Replaces `now+N` and `now-N` by that second.
fn at_now(text: &str) -> String {
    let Some(start) = text.find("now") else { return text.to_owned() };
    let rest = &text[start + 3..];
    let digits = rest[1..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |end| end + 1);
    let offset: i128 = rest[..digits].parse().unwrap();
    format!("{}{}{}", &text[..start], i128::from(unix_now()) + offset, &rest[digits..])
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..start]);
        let escape = &rest[start + 1..];
        let length = match escape.chars().next() {
            Some('r') => (out.push(b'\r'), 1).1,
            Some('n') => (out.push(b'\n'), 1).1,
            Some('0') => (out.push(0), 1).1,
            Some('x') => (out.push(u8::from_str_radix(&escape[1..3], 16).unwrap()), 3).1,
            other => panic!("unknown escape {other:?} in {text}"),
        };
        rest = &escape[length..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

#[test]
fn placeholders_and_times() {
    let words = BTreeMap::from([("k".to_owned(), "v".to_owned()), ("c".to_owned(), base64(&[1, 2, 3]))]);
    let fill = |text: &str| expand(text, &|word| lookup(word, &words));
    assert_eq!(fill("a<k>b<x:3><,1:2>"), "avbxxx,1,1");
    assert_eq!(fill("<c:first 2> <c:flip 0> <base64:1>"), format!("{} {} AA==", base64(&[1, 2]), base64(&[0, 2, 3])));
    assert_eq!(at_now("0now+5.0"), format!("0{}.0", unix_now() + 5));
    assert_eq!(unescape(r"a\r\n\x16b"), b"a\r\n\x16b");
}
