//! A recording as SVG: latency above, states below, one axis of time.

use std::fmt::Write as _;

use super::Recording;
use super::recording::Band;

const TITLE: &str = "A broker dies and its substitute takes over";
const WIDTH: f64 = 900.0;
/// Where curves and bands begin and end.
const LEFT: f64 = 150.0;
const RIGHT: f64 = 880.0;
/// The panel of latency.
const TOP: f64 = 84.0;
const BOTTOM: f64 = 254.0;
/// A row of bands, and from one to the next.
const ROW: f64 = 22.0;
const ROWS: f64 = 34.0;
/// Milliseconds that the axis of latency begins and ends with.
const LEAST: f64 = 1.0;
const MOST: f64 = 100.0;
/// What a letter takes: a state whose band is too narrow for its name has it below.
const LETTER: f64 = 6.6;

/// For light paper and for dark: states have colours that stand out on both.
const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#3d444d}.title{font-size:15px;font-weight:600}.axis{font-size:11px}.band{font-size:11px;fill:#fff}\
.paper{fill:#fff}.grid{stroke:#d1d9e0;stroke-width:1}.event{stroke:#59636e;stroke-width:1;stroke-dasharray:3 3}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}\
.none{fill:#cf222e;fill-opacity:.13}\
@media(prefers-color-scheme:dark){text{fill:#d1d7e0}.band{fill:#fff}.paper{fill:#0d1117}.grid{stroke:#30363d}.event{stroke:#9198a1}.none{fill-opacity:.28}}";

/// Of lines: blue and orange differ for everybody.
const LINES: [&str; 4] = ["#2f81f7", "#d9730d", "#8250df", "#1a7f37"];

fn color(state: &str) -> &'static str {
    match state {
        "Ready" | "FailedBack" => "#2da44e",
        "Suspect" | "Detected" | "Pending" | "Fenced" | "Seeded" | "Retargeted" | "Adopted" => "#bf8700",
        "Down" | "Failed" => "#cf222e",
        "Returning" | "FailingBack" => "#8250df",
        _ => "#0969da",
    }
}

/// The picture.
#[must_use]
pub(crate) fn draw(recording: &Recording) -> String {
    let end = BOTTOM + 10.0 + ROWS * count(recording.bands.len());
    let height = end + 76.0;
    let mut svg = Drawing {
        text: String::new(),
        span: recording.span,
        narrow: Vec::new(),
    };
    svg.add(&format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>{TITLE}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>"
    ));
    svg.words(16.0, 26.0, "title", "start", TITLE);
    let subtitle = format!(
        "{} as Prometheus saw it, scraping four times a second",
        recording.about
    );
    svg.words(16.0, 45.0, "axis", "start", &subtitle);
    svg.frame(end);
    svg.event(0.0, "its pod is killed");
    svg.event(recording.mended, "it may come back");
    svg.latencies(recording);
    let mut y = BOTTOM + 18.0;
    for (name, bands) in &recording.bands {
        svg.words(LEFT - 10.0, y + 15.0, "", "end", name);
        for band in bands {
            svg.band(band, y);
        }
        y += ROWS;
    }
    svg.legend(end + 60.0);
    svg.add("</svg>");
    svg.text
}

fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

struct Drawing {
    text: String,
    span: (f64, f64),
    /// States whose bands were too narrow for their names.
    narrow: Vec<String>,
}

impl Drawing {
    fn add(&mut self, element: &str) {
        self.text.push_str(element);
        self.text.push('\n');
    }

    fn words(&mut self, x: f64, y: f64, class: &str, anchor: &str, words: &str) {
        let words = words.replace('&', "&amp;").replace('<', "&lt;");
        self.add(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{words}</text>"
        ));
    }

    fn x(&self, at: f64) -> f64 {
        let (from, to) = self.span;
        LEFT + (at.clamp(from, to) - from) / (to - from) * (RIGHT - LEFT)
    }

    /// The grid, and what its lines stand for.
    fn frame(&mut self, lowest: f64) {
        self.words(LEFT - 10.0, TOP - 14.0, "axis", "end", "latency of probes, ms");
        let mut value = LEAST;
        while value <= MOST {
            let y = height_of(value);
            self.add(&format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            ));
            self.words(LEFT - 10.0, y + 4.0, "axis", "end", &format!("{value}"));
            value *= 10.0;
        }
        let (from, to) = self.span;
        let mut at = (from / 10.0).ceil() * 10.0;
        while at <= to {
            let x = self.x(at);
            self.add(&format!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{lowest:.1}\"/>"
            ));
            self.words(x, lowest + 18.0, "axis", "middle", &format!("{at:.0}"));
            at += 10.0;
        }
        self.words(
            f64::midpoint(LEFT, RIGHT),
            lowest + 38.0,
            "axis",
            "middle",
            "seconds",
        );
    }

    fn event(&mut self, at: f64, what: &str) {
        let x = self.x(at);
        self.add(&format!(
            "<line class=\"event\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
            BOTTOM + 10.0
        ));
        self.words(x, TOP - 6.0, "axis", "middle", what);
    }

    fn latencies(&mut self, recording: &Recording) {
        for (name, line) in recording.latencies.iter().take(1) {
            let mut gaps: Vec<(f64, f64)> = Vec::new();
            for pair in line.windows(2) {
                if let [(from, None), (to, Some(_))] = pair {
                    gaps.push((*from, *to));
                }
            }
            for (from, to) in gaps {
                let (left, right) = (self.x(from), self.x(to));
                self.add(&format!(
                    "<rect class=\"none\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>nothing comes through {name}</title></rect>",
                    right - left,
                    BOTTOM - TOP
                ));
                let text = format!("probes pass again after {to:.1} s");
                self.words(right + 8.0, TOP + 18.0, "axis", "start", &text);
            }
        }
        for (index, (name, line)) in recording.latencies.iter().enumerate() {
            let color = LINES[index % LINES.len()];
            let mut path = String::new();
            let mut pen = 'M';
            for (at, value) in line {
                match value {
                    Some(value) => {
                        let (x, y) = (self.x(*at), height_of(value * 1000.0));
                        let _ = write!(path, "{pen}{x:.1} {y:.1}");
                        pen = 'L';
                    }
                    None => pen = 'M',
                }
            }
            self.add(&format!("<path class=\"line\" stroke=\"{color}\" d=\"{path}\"/>"));
            let x = 640.0 + 120.0 * count(index);
            self.add(&format!(
                "<line stroke=\"{color}\" stroke-width=\"3\" x1=\"{x}\" x2=\"{:.1}\" y1=\"22\" y2=\"22\"/>",
                x + 22.0
            ));
            self.words(x + 28.0, 26.0, "", "start", name);
        }
    }

    fn band(&mut self, band: &Band, y: f64) {
        let (left, right) = (self.x(band.from), self.x(band.to));
        let width = (right - left).max(1.0);
        let color = color(&band.state);
        self.add(&format!(
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{ROW}\" rx=\"2\" fill=\"{color}\"><title>{} from {:.2} to {:.2} s</title></rect>",
            band.state, band.from, band.to
        ));
        if count(band.state.chars().count()) * LETTER < width {
            self.words(left + width / 2.0, y + 15.0, "band", "middle", &band.state);
        } else if !self.narrow.contains(&band.state) {
            self.narrow.push(band.state.clone());
        }
    }

    /// The names that found no room.
    fn legend(&mut self, y: f64) {
        let mut x = LEFT;
        for state in std::mem::take(&mut self.narrow) {
            let color = color(&state);
            self.add(&format!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{color}\"/>",
                y - 10.0
            ));
            self.words(x + 18.0, y, "axis", "start", &state);
            x += 42.0 + count(state.chars().count()) * LETTER;
        }
    }
}

/// Of a latency in milliseconds, by its logarithm.
fn height_of(milliseconds: f64) -> f64 {
    let part = (milliseconds.clamp(LEAST, MOST) / LEAST).log10() / (MOST / LEAST).log10();
    BOTTOM - part * (BOTTOM - TOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_shaded_and_narrow_states_are_named_below() {
        let band = |state: &str, from, to| Band {
            state: state.to_owned(),
            from,
            to,
        };
        let drawn = draw(&Recording {
            about: "A & B".to_owned(),
            span: (-10.0, 20.0),
            mended: 10.0,
            latencies: vec![(
                "i → a".to_owned(),
                vec![
                    (0.0, Some(0.002)),
                    (1.0, None),
                    (3.0, Some(0.02)),
                    (20.0, Some(70.0)),
                ],
            )],
            bands: vec![(
                "broker".to_owned(),
                vec![band("Suspect", 1.0, 1.2), band("Down", 1.2, 9.0)],
            )],
        });
        assert_eq!(drawn.matches("class=\"none\"").count(), 1);
        assert!(drawn.contains(">probes pass again after 3.0 s<"), "{drawn}");
        assert!(
            drawn.contains("class=\"axis\" text-anchor=\"start\">Suspect<"),
            "below"
        );
        assert!(
            drawn.contains("class=\"band\" text-anchor=\"middle\">Down<"),
            "in its band"
        );
        assert!(drawn.contains("A &amp; B"), "{drawn}");
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }
}
