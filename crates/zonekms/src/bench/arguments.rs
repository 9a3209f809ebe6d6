//! The options of `zonekms bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use kms_load::{
    CeilingChoice, Distribution, HttpVersion, KeepAlive, KeysAfterwards, Mix, Operation, Pace, PaceChoice, Settings,
    Sweep,
};

use super::targets::TargetArgument;
use crate::duration::parse_duration;

const EXAMPLES: &str = "\
Everything given several times, or as a list, is measured in every combination, each repeat in another random order.

Examples:
  zonekms bench --env-file zonekms-data/dev.env
  zonekms bench --env-file zonekms-data/dev.env --size 32,4096,65536 --connections 1,8,32 --report report.html
  zonekms bench --mix encrypt=70,decrypt=25,data-key=5 --keys 1,1000 --distribution zipf
  zonekms bench --rate-of-peak 70 --duration 10m --repeats 1      (a soak)
  zonekms bench --target exoscale=http://127.0.0.1:8080/v2 --target vault=http://127.0.0.1:8200/v1/transit

Environment, or lines of --env-file:
  exoscale  EXOSCALE_API_KEY, EXOSCALE_API_SECRET, EXOSCALE_API_ENDPOINT (the target if none is given)
  aws       AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION
  vault     VAULT_TOKEN
  cosmian   COSMIAN_ACCESS_TOKEN, if the server asks for one

Keys are made through each target's own API, with names that begin with \"bench-\" (cosmian names keys itself), and taken out
of use at the end. Ctrl-C ends a run early and does that too; a second Ctrl-C leaves them.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArguments {
    /// A server: what it speaks (exoscale, aws, vault, cosmian, or noop for one that answers anything) and where it is.
    /// Several are measured side by side.
    #[arg(long = "target", value_name = "KIND=URL")]
    pub(super) targets: Vec<TargetArgument>,
    /// A file with lines such as EXOSCALE_API_KEY=...; what it says goes before the environment.
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
    /// A key that is there already, to use before any are made; it stays.
    #[arg(long = "key", value_name = "ID")]
    pub(super) given_keys: Vec<String>,

    /// Operations and their shares: encrypt=70,decrypt=25,data-key=5, or one of encrypt, decrypt, data-key, create-key. Several
    /// are measured one after the other. [default: encrypt, then decrypt]
    #[arg(long = "mix", value_name = "MIX")]
    mixes: Vec<Mix>,
    /// Sizes of plaintexts, in bytes.
    #[arg(long = "size", value_name = "BYTES", value_delimiter = ',', default_value = "32", value_parser = size)]
    sizes: Vec<usize>,
    /// Numbers of connections.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "32", value_parser = number::<100_000>)]
    connections: Vec<usize>,
    /// Numbers of keys.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1", value_parser = number::<1_000_000>)]
    keys: Vec<usize>,
    /// How keys are chosen.
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: DistributionArgument,

    /// Open loop at these rates, in requests per second; latency counts from when a request was due. Without it, each
    /// connection sends as soon as it is answered.
    #[arg(long = "rate", value_name = "PER-SECOND", value_delimiter = ',', value_parser = rate)]
    rates: Vec<f64>,
    /// Open loop at this share of the peak, in percent; the peak is measured first.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', value_parser = share)]
    rate_of_peak: Vec<f64>,
    /// How long each measurement is.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    duration: Duration,
    /// Load before each measurement.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,
    /// How often everything is measured.
    #[arg(long, value_name = "N", default_value = "3", value_parser = number::<1_000>)]
    repeats: usize,

    /// Whether connections are used again.
    #[arg(long, value_enum, default_value = "on")]
    keep_alive: Switch,
    /// The version of HTTP: 1.1, or 2 (by prior knowledge without TLS).
    #[arg(long, value_enum, default_value = "1.1")]
    http: HttpArgument,
    /// Requests at the same time on each HTTP/2 connection.
    #[arg(long, value_name = "N", default_value = "1", value_parser = number::<1_000>)]
    streams: usize,
    /// Certificates (PEM) to trust for https.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(super) ca_file: Option<PathBuf>,
    /// Trust any certificate.
    #[arg(long)]
    pub(super) insecure: bool,

    /// Threads that send.
    #[arg(long, value_name = "N", default_value = "1", value_parser = number::<1_024>)]
    threads: usize,
    /// Processors to keep these threads on, such as 1 or 2,3.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    cpus: Vec<usize>,
    /// The server's process on this machine, whose processor time and memory are reported; one for each target. Found by
    /// itself if there is one zonekms process and one target on loopback.
    #[arg(long = "server-pid", value_name = "PID")]
    pub(super) server_pids: Vec<u32>,
    /// Do not measure what the generator itself can do.
    #[arg(long)]
    no_ceiling: bool,
    /// Leave the keys that were made.
    #[arg(long)]
    keep_keys: bool,
    /// What random choices begin with. [default: a random number]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Write everything as JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write a page with plots, complete in one file.
    #[arg(long, value_name = "FILE.html")]
    pub(super) report: Option<PathBuf>,
    /// Write the plots alone as .svg files.
    #[arg(long, value_name = "DIR")]
    pub(super) svg: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DistributionArgument {
    /// All keys alike.
    Uniform,
    /// The k-th key 1/k as often as the first.
    Zipf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HttpArgument {
    #[value(name = "1.1")]
    Http1,
    #[value(name = "2")]
    Http2,
}

/// A combination of options that means nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Contradiction {
    #[error("--duration must be at least 1s")]
    NoDuration,
    #[error("--keep-alive off is for HTTP/1.1: an HTTP/2 connection is one that is kept")]
    Http2WithoutKeepAlive,
    #[error("--streams is for --http 2: HTTP/1.1 has one request at a time on a connection")]
    StreamsWithoutHttp2,
}

impl BenchArguments {
    /// What varies.
    pub(super) fn sweep(&self) -> Sweep {
        let mixes = match self.mixes.is_empty() {
            true => vec![Mix::only(Operation::Encrypt), Mix::only(Operation::Decrypt)],
            false => self.mixes.clone(),
        };
        let rates = self.rates.iter().map(|per_second| PaceChoice::Fixed(Pace::Open { per_second: *per_second }));
        let shares = self.rate_of_peak.iter().map(|percent| PaceChoice::ShareOfPeak(percent / 100.0));
        let mut paces: Vec<PaceChoice> = rates.chain(shares).collect();
        if paces.is_empty() {
            paces.push(PaceChoice::Fixed(Pace::Closed));
        }
        let (sizes, connections, keys) = (self.sizes.clone(), self.connections.clone(), self.keys.clone());
        Sweep { mixes, sizes, connections, keys, paces }
    }

    /// What stays the same.
    pub(super) fn settings(&self, random_seed: u64) -> Result<Settings, Contradiction> {
        if self.duration < Duration::from_secs(1) {
            return Err(Contradiction::NoDuration);
        }
        match (self.http, self.keep_alive) {
            (HttpArgument::Http2, Switch::Off) => return Err(Contradiction::Http2WithoutKeepAlive),
            (HttpArgument::Http1, _) if self.streams > 1 => return Err(Contradiction::StreamsWithoutHttp2),
            (HttpArgument::Http2, Switch::On) | (HttpArgument::Http1, _) => {}
        }
        Ok(Settings {
            distribution: match self.distribution {
                DistributionArgument::Uniform => Distribution::Uniform,
                DistributionArgument::Zipf => Distribution::Zipf,
            },
            streams: self.streams,
            threads: self.threads,
            cpus: self.cpus.clone(),
            warm_up: self.warmup,
            duration: self.duration,
            grace: Duration::from_secs(5),
            repeats: self.repeats,
            seed: self.seed.unwrap_or(random_seed),
            ceiling: if self.no_ceiling { CeilingChoice::Skipped } else { CeilingChoice::Measured },
            keys_afterwards: if self.keep_keys { KeysAfterwards::Kept } else { KeysAfterwards::Removed },
        })
    }

    pub(super) fn version(&self) -> HttpVersion {
        match self.http {
            HttpArgument::Http1 => HttpVersion::Http1,
            HttpArgument::Http2 => HttpVersion::Http2,
        }
    }

    pub(super) fn keep_alive(&self) -> KeepAlive {
        match self.keep_alive {
            Switch::On => KeepAlive::On,
            Switch::Off => KeepAlive::Off,
        }
    }
}

fn number<const MOST: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MOST).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(format!("must be a whole number from 1 to {MOST}")),
    }
}

fn size(text: &str) -> Result<usize, String> {
    number::<1_048_576>(text).map_err(|_| "must be a number of bytes from 1 to 1048576".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.1..=10_000_000.0).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("must be a number of requests per second from 0.1 to 10000000".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse() {
        Ok(percent) if (1.0..=200.0).contains(&percent) => Ok(percent),
        Ok(_) | Err(_) => Err("must be a share from 1 to 200 percent".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArguments,
    }

    fn read(words: &[&str]) -> BenchArguments {
        Line::try_parse_from(std::iter::once(&"bench").chain(words)).unwrap().bench
    }

    #[test]
    fn nothing_need_be_given() {
        let arguments = read(&[]);
        let sweep = arguments.sweep();
        assert_eq!(sweep.mixes, [Mix::only(Operation::Encrypt), Mix::only(Operation::Decrypt)]);
        assert_eq!((sweep.sizes, sweep.connections, sweep.keys), (vec![32], vec![32], vec![1]));
        assert_eq!(sweep.paces, [PaceChoice::Fixed(Pace::Closed)]);
        assert_eq!(arguments.settings(7).unwrap().seed, 7);
    }

    #[test]
    fn lists_are_swept() {
        let sweep =
            read(&["--size", "32,4096", "--connections=1,8", "--rate", "1000", "--rate-of-peak", "70%"]).sweep();
        assert_eq!((sweep.sizes, sweep.connections), (vec![32, 4096], vec![1, 8]));
        assert_eq!(sweep.paces, [PaceChoice::Fixed(Pace::Open { per_second: 1_000.0 }), PaceChoice::ShareOfPeak(0.7)]);
    }

    #[test]
    fn what_is_refused() {
        for (words, says) in [
            (&["--size", "0"][..], "must be a number of bytes"),
            (&["--connections", "many"], "must be a whole number from 1 to 100000"),
            (&["--mix", "sign"], "is no operation"),
            (&["--mix", "encrypt,decrypt"], "needs a share"),
            (&["--rate=-1"], "requests per second"),
            (&["--rate", "0"], "requests per second"),
            (&["--duration", "5"], "must be a whole number and a unit"),
            (&["--target", "http://h"], "exoscale, aws, vault, cosmian or noop"),
            (&["--target", "kmip=http://h"], "exoscale, aws, vault, cosmian or noop"),
            (&["--target", "aws=h"], "must begin with http"),
            (&["--ca-file", "f", "--insecure"], "cannot be used with"),
        ] {
            let fault = Line::try_parse_from(std::iter::once(&"bench").chain(words)).unwrap_err().to_string();
            assert!(fault.contains(says), "{words:?}: {fault}");
        }
        for (words, says) in [
            (&["--duration", "0s"][..], "at least 1s"),
            (&["--http", "2", "--keep-alive", "off"], "--keep-alive off"),
            (&["--streams", "2"], "--streams"),
        ] {
            let fault = read(words).settings(0).unwrap_err().to_string();
            assert!(fault.contains(says), "{words:?}: {fault}");
        }
    }
}
