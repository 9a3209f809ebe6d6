//! What a report looks like: complete in itself, well-formed, without secrets.

use crate::measuring::measured;
use crate::server::{Fault, Server};
use kms_load::Report;
use quick_xml::Reader;
use quick_xml::events::Event;

fn report() -> Report {
    let server = Server::start(Fault::None);
    measured(&[(&server, "a <label> & \"more\"")]).0
}

/// Names of elements, all attributes, and whether everything is closed.
fn walk(document: &str) -> (Vec<String>, Vec<(String, String)>) {
    let mut reader = Reader::from_str(document);
    let (mut names, mut attributes) = (Vec::new(), Vec::new());
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("{error} at {}", reader.error_position())) {
            Event::Start(element) | Event::Empty(element) => {
                names.push(String::from_utf8(element.name().as_ref().to_vec()).unwrap());
                for attribute in element.attributes() {
                    let attribute = attribute.unwrap();
                    let value = attribute.unescape_value().unwrap().into_owned();
                    attributes.push((String::from_utf8(attribute.key.as_ref().to_vec()).unwrap(), value));
                }
            }
            Event::Text(text) => drop(text.decode().unwrap()),
            Event::Eof => return (names, attributes),
            Event::End(_) | Event::CData(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::DocType(_) | Event::GeneralRef(_) => {}
        }
    }
}

#[test]
fn the_page_is_well_formed_and_refers_to_nothing_outside() {
    let report = report();
    let page = report.html();
    let (names, attributes) = walk(&page);
    let count = |name: &str| names.iter().filter(|own| *own == name).count();
    assert_eq!(count("svg"), count("figure"));
    // Rates, two over connections, percentiles, two over time (the visits are shorter than a second, so one second each).
    assert!(count("svg") >= 6, "{}", count("svg"));
    assert_eq!(count("script") + count("link") + count("img") + count("iframe") + count("use"), 0);
    for (name, value) in &attributes {
        assert!(!matches!(name.as_str(), "src" | "href" | "xlink:href") && !name.starts_with("on"), "{name}={value}");
        assert!(name == "xmlns" || !value.contains("://"), "{name}={value}");
        assert!(!value.contains("NaN") && !value.contains("inf"), "{name}={value}");
    }
    assert!(!page.contains("url(") && !page.contains("@import"));
    for stated in [
        "Linux",
        "bench &lt;&amp;",
        "prefers-color-scheme:dark",
        "@media print",
        "loopback",
        "ceiling",
        "pauses of the machine: ",
        "a &lt;label&gt; &amp; ",
    ] {
        assert!(page.contains(stated), "{stated}");
    }
    assert!(!page.contains("secret") && !page.contains("EXOtest"));
}

#[test]
fn drawings_stand_alone() {
    let drawings = report().drawings();
    let names: Vec<&str> = drawings.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(&names[..4], ["rates", "rate-over-connections", "p99-over-connections", "latency"]);
    for (name, svg) in &drawings {
        let (elements, attributes) = walk(svg);
        assert_eq!(elements[0], "svg", "{name}");
        assert!(attributes.iter().any(|(name, value)| name == "xmlns" && value == "http://www.w3.org/2000/svg"));
        assert!(svg.contains("prefers-color-scheme:dark"));
    }
}

#[test]
fn json_has_every_visit() {
    let report = report();
    let value: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    let results = value["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    let mut answered = 0;
    for (result, own) in results.iter().zip(&report.results) {
        assert_eq!(result["pace"], "closed");
        let visits = result["visits"].as_array().unwrap();
        assert_eq!((visits.len(), own.visits.len()), (2, 2));
        for (visit, own) in visits.iter().zip(&own.visits) {
            assert_eq!(visit["answered"], own.answered);
            assert_eq!(visit["latency"]["p99_ns"], own.latency.p99_ns);
            assert_eq!(own.latency.p99_ns > 0, own.answered > 0);
            answered += own.answered;
        }
    }
    let pauses = value["pauses"].as_array().unwrap();
    assert_eq!(pauses.len(), 1, "the generator may run anywhere");
    assert!(pauses[0]["watched_ns"].as_u64().unwrap() > 0 && pauses[0]["processor"].is_null(), "{pauses:?}");
    assert!(answered > 0);
    assert!(value["machine"]["kernel"].as_str().unwrap().starts_with("Linux"));
}

#[test]
fn the_table_has_a_row_for_everything() {
    let report = report();
    let table = report.table();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("a <label>")).collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert!(table.starts_with("target"));
    let foot = table.lines().last().unwrap();
    assert_eq!(foot, report.pauses[0].to_string());
    assert!(!table.contains("FAILED"));
}

#[test]
fn failures_are_loud() {
    let server = Server::start(Fault::WrongPlaintext);
    let (report, _) = measured(&[(&server, "broken")]);
    assert!(report.table().contains("FAILED: broken, decrypt"), "{}", report.table());
    assert!(report.html().contains("class=\"loud\""));
}
