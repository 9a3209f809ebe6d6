//! The report as one page.

use super::drawing::{STYLE, escape, thousands};
use super::table::{latency, remarks};
use super::{PointResult, Report, TargetFacts, charts};
use crate::plan::{CeilingChoice, KeysAfterwards};
use std::fmt::Write as _;

const PAGE_STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:62rem;\
margin:2rem auto;padding:0 1rem}@media(prefers-color-scheme:dark){body{color:#ddd;background:#16181c}}\
table{border-collapse:collapse;font-size:13px;margin:1rem 0}th,td{padding:.25rem .6rem;border-bottom:1px solid;\
border-color:color-mix(in srgb,currentColor 25%,transparent);text-align:right;white-space:nowrap}\
th:first-child,td:first-child,.facts td,.facts th{text-align:left;white-space:normal}.wide{overflow-x:auto}\
figure{margin:1.5rem 0;break-inside:avoid}figure svg{width:100%;height:auto}code{font-size:13px;overflow-wrap:anywhere}\
.loud{font-weight:700;border-left:4px solid #cc5252;padding-left:.6rem}\
@media print{body{color:#000;background:#fff;max-width:none;margin:0}}";

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\
         <title>Load on key management services</title><style>{PAGE_STYLE}{STYLE}</style></head><body>\n\
         <h1>Load on key management services</h1>\n"
    );
    for remark in remarks(report) {
        let class =
            if remark.starts_with("FAILED") || remark.starts_with("INTERRUPTED") { " class=\"loud\"" } else { "" };
        put(&mut html, format_args!("<p{class}>{}</p>\n", escape(&remark)));
    }
    results(&mut html, report);
    for chart in charts::all(report) {
        put(&mut html, format_args!("<figure>{}</figure>\n", chart.svg));
    }
    facts(&mut html, report);
    limits(&mut html, report);
    html.push_str("</body></html>\n");
    html
}

fn results(html: &mut String, report: &Report) {
    html.push_str("<h2>Results</h2>\n<div class=\"wide\"><table><thead><tr>");
    for column in [
        "target",
        "operations",
        "bytes",
        "connections",
        "keys",
        "pace",
        "requests/s",
        "lowest to highest",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "failed",
        "unanswered",
        "server CPU per request",
        "of the ceiling",
        "generator busy",
    ] {
        put(html, format_args!("<th>{column}</th>"));
    }
    html.push_str("</tr></thead><tbody>\n");
    for result in &report.results {
        html.push_str("<tr>");
        for cell in cells(result) {
            put(html, format_args!("<td>{}</td>", escape(&cell)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
}

fn cells(result: &PointResult) -> Vec<String> {
    let none = || "-".to_owned();
    let (low, high) = result.per_second_range;
    let ceiling = result.ceiling_per_second.map(|ceiling| {
        format!(
            "{:.0} % of {}{}",
            result.per_second / ceiling.max(1e-9) * 100.0,
            thousands(ceiling),
            if result.near_ceiling() { " !" } else { "" }
        )
    });
    let busy: Vec<f64> = result.visits.iter().map(|visit| visit.generator_busy).collect();
    vec![
        result.target.clone(),
        result.mix.clone(),
        result.size.to_string(),
        result.connections.to_string(),
        result.keys.to_string(),
        result.asked.clone(),
        thousands(result.per_second),
        format!("{} to {}", thousands(low), thousands(high)),
        latency(result.latency.p50_ns),
        latency(result.latency.p90_ns),
        latency(result.latency.p99_ns),
        latency(result.latency.p999_ns),
        latency(result.latency.max_ns),
        result.failed.to_string(),
        result.unanswered.to_string(),
        result.server_cpu_us.map_or_else(none, |cpu| format!("{cpu:.2} us")),
        ceiling.unwrap_or_else(none),
        format!("{:.0} %", super::median(&busy) * 100.0),
    ]
}

fn facts(html: &mut String, report: &Report) {
    let Report { machine, pauses, settings, .. } = report;
    let cpus: Vec<String> = settings.cpus.iter().map(usize::to_string).collect();
    let mut rows = vec![
        ("machine", format!("{}, {} processors, {} MiB", machine.cpu, machine.cores, machine.memory_bytes >> 20)),
        ("kernel", machine.kernel.clone()),
        ("frequency governor", machine.governor.clone().unwrap_or_else(|| "not shown by this system".to_owned())),
        ("load average at the beginning", machine.load_average.clone()),
        ("before the visits", pauses.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        ("generator", format!("kms-load {}", report.version)),
        ("generator's threads", settings.threads.to_string()),
        ("generator's processors", if cpus.is_empty() { "any".to_owned() } else { cpus.join(", ") }),
        (
            "each visit",
            format!(
                "{:.1} s after a warm-up of {:.1} s",
                settings.duration.as_secs_f64(),
                settings.warm_up.as_secs_f64()
            ),
        ),
        ("repeats", format!("{}, each in another random order (seed {})", settings.repeats, settings.seed)),
        (
            "choice of keys",
            match settings.distribution {
                crate::key_choice::Distribution::Uniform => "uniform".to_owned(),
                crate::key_choice::Distribution::Zipf => "Zipf, exponent 1".to_owned(),
            },
        ),
        (
            "keys afterwards",
            match settings.keys_afterwards {
                KeysAfterwards::Removed => "taken out of use".to_owned(),
                KeysAfterwards::Kept => "kept".to_owned(),
            },
        ),
        ("command", report.command.clone()),
    ];
    for TargetFacts { label, protocol, endpoint, http, keep_alive, server_pid } in &report.targets {
        let version = match http {
            crate::connection::HttpVersion::Http1 => "HTTP/1.1",
            crate::connection::HttpVersion::Http2 => "HTTP/2",
        };
        let connections = match keep_alive {
            crate::call::KeepAlive::On => "connections kept",
            crate::call::KeepAlive::Off => "a connection for each request",
        };
        let process = server_pid.map_or(String::new(), |pid| format!(", process {pid}"));
        rows.push(("target", format!("{label}: {protocol} at {endpoint}, {version}, {connections}{process}")));
    }
    html.push_str("<h2>Settings</h2>\n<table class=\"facts\"><tbody>\n");
    for (name, value) in rows {
        put(html, format_args!("<tr><th>{name}</th><td>{}</td></tr>\n", escape(&value)));
    }
    html.push_str("</tbody></table>\n");
}

fn limits(html: &mut String, report: &Report) {
    html.push_str(
        "<h2>What was measured, and what was not</h2>\n<ul>\n\
         <li>Latency is from the first byte sent to the last byte received, in the generator; in an open loop from when the \
         request was due, so that a stalled server is charged for what it kept waiting. Failures are counted apart and are in no \
         latency and no rate.</li>\n\
         <li>The server's processor time includes the kernel's for it, and all that the process did beside answering.</li>\n\
         <li>The range of the repeats is the noise of this machine: differences within it mean nothing.</li>\n\
         <li>A pause of the machine delays whatever is under way: latencies as long as its pauses may be its own and no server's.</li>\n",
    );
    match report.settings.ceiling {
        CeilingChoice::Measured => html.push_str(
            "<li>The ceiling is what the same generator with the same requests reaches against a minimal responder in its own \
             process. Results above 70 % of it are marked with ! because they may be the generator's limit.</li>\n",
        ),
        CeilingChoice::Skipped => {
            html.push_str("<li>The generator's own ceiling was not measured: results may be its limit and not the server's.</li>\n");
        }
    }
    if report.targets.iter().any(|target| {
        target.endpoint.contains("//127.")
            || target.endpoint.contains("//localhost")
            || target.endpoint.contains("//[::1]")
    }) {
        html.push_str(
            "<li>Over loopback: no network card, no cable and no loss. Generator and server share this machine's processors, \
             caches and memory, unless they were kept on different processors, and then still the caches and memory.</li>\n",
        );
    }
    html.push_str("</ul>\n");
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a String cannot fail");
}
