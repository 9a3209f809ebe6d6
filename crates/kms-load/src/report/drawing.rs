//! Plots as SVG: axes, lines and bars that are readable in print and on dark screens, without a script.

use std::fmt::Write as _;

/// Width and height of a plot, in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 48.0;
/// One line of the legend, below the plot.
const LEGEND_LINE: f64 = 17.0;

/// Middle tones that are seen on white and on black; lines also differ in their dashes, for print without colours.
const COLOURS: [&str; 8] = ["#2f7fc1", "#d9772b", "#2f9e6e", "#c0559c", "#8570d0", "#a08a1f", "#3ba7a7", "#cc5252"];
const DASHES: [&str; 4] = ["", "7 3", "2 3", "9 3 2 3"];

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 to the largest value.
    Linear,
    /// Powers of ten.
    Log,
    /// Values are shares below 1, and each nine has the same room: 0 %, 90 %, 99 %, 99.9 %.
    Nines,
}

/// One axis.
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) scale: Scale,
    /// How a value is written beside a tick.
    pub(super) show: fn(f64) -> String,
}

/// Values that belong together.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A bar with the range of its repeats.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    pub(super) range: (f64, f64),
}

/// A document of its own, from the element that [`lines`] or [`bars`] gave.
pub(super) fn standalone(svg: &str) -> String {
    let style = format!(
        "<style>svg{{color:#222;background:#fff}}@media(prefers-color-scheme:dark){{svg{{color:#ddd;background:#16181c}}}}{STYLE}</style>"
    );
    let (open, rest) = svg.split_at(svg.find('>').map_or(0, |at| at + 1));
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{open}{style}{rest}\n")
}

/// What plots look like, in a page or alone.
pub(super) const STYLE: &str = "svg{font:12px system-ui,sans-serif}svg text{fill:currentColor}.grid{stroke:currentColor;\
    stroke-opacity:.18}.axis{stroke:currentColor;stroke-opacity:.7}.title{font-weight:600;font-size:14px}";

/// Lines in one plot, with a legend.
pub(super) fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let across = Placing::new(x.scale, all().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let up = Placing::new(y.scale, all().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let mut svg = open(title, lines.len());
    axes(&mut svg, x, y, &across, &up);
    for (at, line) in lines.iter().enumerate() {
        let (colour, dash) = (COLOURS[at % COLOURS.len()], DASHES[at / COLOURS.len() % DASHES.len()]);
        let dash = if dash.is_empty() { DASHES[at % DASHES.len()] } else { dash };
        let mut path = String::new();
        for (number, point) in line.points.iter().enumerate() {
            let (px, py) = (across.place(point.0), up.place(point.1));
            put(&mut path, format_args!("{}{px:.1} {py:.1}", if number == 0 { "M" } else { "L" }));
        }
        put(
            &mut svg,
            format_args!(
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-dasharray=\"{dash}\"/>"
            ),
        );
        if line.points.len() <= 16 {
            for point in &line.points {
                let (px, py) = (across.place(point.0), up.place(point.1));
                put(&mut svg, format_args!("<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"2.6\" fill=\"{colour}\"/>"));
            }
        }
        let ly = HEIGHT + LEGEND_LINE * (index(at) + 0.3);
        put(
            &mut svg,
            format_args!(
                "<path d=\"M{LEFT} {ly:.1}h34\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>"
            ),
        );
        put(&mut svg, format_args!("<text x=\"{}\" y=\"{:.1}\">{}</text>", LEFT + 42.0, ly + 4.0, escape(&line.label)));
    }
    svg.push_str("</svg>");
    svg
}

/// Bars from 0, one below the other, with a mark for the range of the repeats.
pub(super) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.range.1.max(bar.value)).fold(f64::MIN_POSITIVE, f64::max);
    let room = WIDTH - LEFT - RIGHT - 90.0;
    let height = TOP + 44.0 * index(bars.len()) + 8.0;
    let mut svg = head(title, height);
    for (at, bar) in bars.iter().enumerate() {
        let y = TOP + 44.0 * index(at);
        let (width, low, high) = (room * bar.value / most, room * bar.range.0 / most, room * bar.range.1 / most);
        let colour = COLOURS[at % COLOURS.len()];
        put(&mut svg, format_args!("<text x=\"16\" y=\"{:.1}\">{}</text>", y + 12.0, escape(&bar.label)));
        put(
            &mut svg,
            format_args!(
                "<rect x=\"16\" y=\"{:.1}\" width=\"{width:.1}\" height=\"16\" fill=\"{colour}\" fill-opacity=\".75\"/>",
                y + 18.0
            ),
        );
        put(
            &mut svg,
            format_args!(
                "<path class=\"axis\" d=\"M{:.1} {:.1}h{:.1}\"/>",
                16.0 + low,
                y + 26.0,
                (high - low).max(0.0)
            ),
        );
        put(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\">{} {}</text>",
                24.0 + width.max(high),
                y + 30.0,
                thousands(bar.value),
                escape(unit)
            ),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Where values are between two places.
struct Placing {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Placing {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (least, most) =
            values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
        let (low, high) = match scale {
            Scale::Linear => (0.0, step(most) * (most / step(most)).ceil()),
            Scale::Log => (least.max(1e-9).log10().floor(), most.max(1e-9).log10().ceil()),
            Scale::Nines => (0.0, nines(most).max(1.0)),
        };
        let high = if high > low { high } else { low + 1.0 };
        Self { scale, low, high, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(1e-9).log10(),
            Scale::Nines => nines(value),
        };
        self.from + (value.clamp(self.low, self.high) - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        let count = |from: f64, to: f64| {
            std::iter::successors(Some(from), |at| Some(at + 1.0)).take_while(move |at| *at <= to + 1e-9)
        };
        match self.scale {
            Scale::Linear => count(0.0, self.high / step(self.high)).map(|at| at * step(self.high)).collect(),
            Scale::Log => count(self.low, self.high).map(|power| 10_f64.powf(power)).collect(),
            Scale::Nines => {
                let mut ticks = vec![0.0, 0.5];
                ticks.extend(count(1.0, self.high).map(|nines| 1.0 - 10_f64.powf(-nines)));
                ticks
            }
        }
    }
}

/// How many nines a share has: 0.99 has two.
fn nines(share: f64) -> f64 {
    -(1.0 - share.clamp(0.0, 1.0 - 1e-12)).log10()
}

/// The distance of ticks on a linear axis up to `most`: 1, 2 or 5 times a power of ten, for four to eight ticks.
fn step(most: f64) -> f64 {
    let rough = most.max(1e-9) / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

fn axes(svg: &mut String, x: &Axis, y: &Axis, across: &Placing, up: &Placing) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for tick in across.ticks() {
        let px = across.place(tick);
        put(svg, format_args!("<path class=\"grid\" d=\"M{px:.1} {TOP}V{bottom}\"/>"));
        put(
            svg,
            format_args!(
                "<text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                escape(&(x.show)(tick))
            ),
        );
    }
    for tick in up.ticks() {
        let py = up.place(tick);
        put(svg, format_args!("<path class=\"grid\" d=\"M{LEFT} {py:.1}H{right}\"/>"));
        put(
            svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                py + 4.0,
                escape(&(y.show)(tick))
            ),
        );
    }
    put(svg, format_args!("<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>"));
    put(
        svg,
        format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            bottom + 34.0,
            escape(x.label)
        ),
    );
    let middle = f64::midpoint(TOP, bottom);
    put(
        svg,
        format_args!(
            "<text x=\"14\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle:.1})\">{}</text>",
            escape(y.label)
        ),
    );
}

fn open(title: &str, legend: usize) -> String {
    head(title, HEIGHT + LEGEND_LINE * (index(legend) + 0.5))
}

fn head(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\">\
         <text class=\"title\" x=\"16\" y=\"18\">{title}</text>"
    )
}

/// A number with its thousands apart, or three digits if it is small.
pub(super) fn thousands(value: f64) -> String {
    if value < 100.0 {
        let text = format!("{value:.2}");
        return if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text inside of elements and attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a String cannot fail");
}

#[expect(clippy::cast_precision_loss, reason = "numbers of lines and bars are small")]
fn index(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_ticks() {
        let linear = Placing::new(Scale::Linear, [3.0, 97.0].into_iter(), 0.0, 100.0);
        assert_eq!(linear.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert!((linear.place(50.0) - 50.0).abs() < 1e-9);
        let log = Placing::new(Scale::Log, [20.0, 5_000.0].into_iter(), 0.0, 3.0);
        assert!((log.place(100.0) - 1.0).abs() < 1e-9);
        let nines = Placing::new(Scale::Nines, [0.0, 0.999].into_iter(), 0.0, 3.0);
        assert!((nines.place(0.99) - 2.0).abs() < 1e-9);
        assert_eq!(nines.ticks().len(), 5);
    }

    #[test]
    fn one_value_is_no_reason_to_divide_by_nothing() {
        for scale in [Scale::Linear, Scale::Log, Scale::Nines] {
            for value in [0.0, 1.0] {
                let placing = Placing::new(scale, [value].into_iter(), 0.0, 10.0);
                assert!(placing.place(value).is_finite(), "{scale:?} {value}");
                assert!(placing.ticks().len() < 20);
            }
        }
    }

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!([0.0, 0.5, 12.0, 999.0, 105_688.4].map(thousands), ["0", "0.5", "12", "999", "105,688"]);
    }
}
