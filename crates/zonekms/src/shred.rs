//! `zonekms shred`: how things stand with the material of deleted keys, and making it unrecoverable now.

use std::fmt::Write;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::cli::ShredArguments;
use crate::control::{ClientFault, Target};
use crate::duration::show_duration;
use crate::failure::Failure;
use crate::serve::runtime;

/// What a server answers about its zone; see `control::shred`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Status {
    zone: String,
    after_seconds: u64,
    epochs: u64,
    waiting: Option<Waiting>,
    under_way: Option<Progress>,
    last: Option<Report>,
}

#[derive(Deserialize)]
struct Waiting {
    since: String,
    deletions: u64,
}

#[derive(Deserialize)]
struct Progress {
    examined: u64,
    resealed: u64,
    unreadable: u64,
}

#[derive(Deserialize)]
struct Report {
    at: String,
    resealed: u64,
    unreadable: u64,
    retired: u64,
}

/// Shows the status, or makes a pass and shows what it did.
pub(crate) fn shred(arguments: &ShredArguments) -> Result<String, Failure> {
    let target = Target::find(&arguments.target)?;
    let asked = runtime()?.block_on(async {
        let (mut client, zone) = target.connect().await?;
        let path = format!("{zone}/shred");
        if arguments.now { client.post(&path, &json!({})).await } else { client.get(&path).await }
    });
    let answer = asked.map_err(|fault| match fault {
        ClientFault::NoServer { .. } => {
            Failure::run(format!("{fault}; shredding is a running server's work, and goes on when it is started"))
        }
        ClientFault::Denied { .. }
        | ClientFault::Stranger { .. }
        | ClientFault::Io { .. }
        | ClientFault::CutOff
        | ClientFault::Refused(_) => Failure::run(fault),
    })?;
    let unknown = |_| Failure::run("the server's answer is not understood: is it of another version?");
    if arguments.now {
        Ok(describe_pass(&serde_json::from_value(answer).map_err(unknown)?))
    } else {
        Ok(describe_status(&serde_json::from_value(answer).map_err(unknown)?))
    }
}

fn describe_pass(report: &Report) -> String {
    let mut text = format!(
        "what was deleted for good before this is shredded\nended        {}\nsealed anew  {}\ngiven up     {}\n",
        whole_seconds(&report.at),
        counted(report.resealed, "record"),
        counted(report.retired, "epoch")
    );
    if report.unreadable > 0 {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "unreadable   {}, damaged before and now lost with the epoch; the log names them. Restore their keys from a backup",
            counted(report.unreadable, "record")
        );
    }
    text
}

fn describe_status(status: &Status) -> String {
    let after = show_duration(Duration::from_secs(status.after_seconds));
    let waiting = match &status.waiting {
        None => "nothing".to_owned(),
        Some(Waiting { since, deletions: 0 }) => {
            format!("what an earlier run left, since {}", whole_seconds(since))
        }
        Some(Waiting { since, deletions }) => {
            format!("{} since {}", counted(*deletions, "deletion"), whole_seconds(since))
        }
    };
    let under_way = status.under_way.as_ref().map(|Progress { examined, resealed, unreadable }| {
        format!("{} looked at, {resealed} sealed anew, {unreadable} unreadable", counted(*examined, "record"))
    });
    let last = status.last.as_ref().map(|Report { at, resealed, unreadable, retired }| {
        let (at, records, epochs) = (whole_seconds(at), counted(*resealed, "record"), counted(*retired, "epoch"));
        format!("{at}: {records} sealed anew, {unreadable} unreadable, {epochs} given up")
    });
    format!(
        "zone         {}\nbegins       {after} after the first final deletion\nepochs       {}\nwaiting      {waiting}\n\
         under way    {}\nlast pass    {}\n",
        status.zone,
        status.epochs,
        under_way.as_deref().unwrap_or("nothing"),
        last.as_deref().unwrap_or("none since the server started; the audit log has those before")
    )
}

fn counted(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// RFC 3339 without the fraction that nobody needs here.
fn whole_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_what_waits_and_what_was_done() {
        let idle = json!({
            "zone": "ch-gva-2", "after-seconds": 600, "epochs": 1, "waiting": null, "under-way": null, "last": null
        });
        assert_eq!(
            describe_status(&serde_json::from_value(idle).unwrap()),
            "zone         ch-gva-2\nbegins       10m after the first final deletion\nepochs       1\nwaiting      nothing\n\
             under way    nothing\nlast pass    none since the server started; the audit log has those before\n"
        );
        let busy = json!({
            "zone": "ch-gva-2", "after-seconds": 1, "epochs": 2,
            "waiting": {"since": "2026-09-21T11:06:40.000000000Z", "deletions": 1},
            "under-way": {"examined": 7, "resealed": 4, "unreadable": 0},
            "last": {"at": "2026-09-21T11:06:39.123456789Z", "resealed": 140, "unreadable": 2, "retired": 1}
        });
        let shown = describe_status(&serde_json::from_value(busy).unwrap());
        for line in [
            "waiting      1 deletion since 2026-09-21T11:06:40Z\n",
            "under way    7 records looked at, 4 sealed anew, 0 unreadable\n",
            "last pass    2026-09-21T11:06:39Z: 140 records sealed anew, 2 unreadable, 1 epoch given up\n",
        ] {
            assert!(shown.contains(line), "{line}{shown}");
        }
    }

    #[test]
    fn lost_records_are_told() {
        let pass = |unreadable| {
            let report = json!({"at": "2026-09-21T11:06:40Z", "resealed": 3, "unreadable": unreadable, "retired": 2});
            describe_pass(&serde_json::from_value(report).unwrap())
        };
        assert!(!pass(0).contains("unreadable"), "{}", pass(0));
        assert!(pass(1).contains("unreadable   1 record, damaged before"), "{}", pass(1));
    }
}
