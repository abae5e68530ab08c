//! Plots as SVG: lines over a logarithmic axis.

use std::fmt::Write as _;
use std::{fs, io, path};

/// Lines of costs over sizes.
#[derive(Debug)]
pub struct Plot {
    /// The name of its file, without ending.
    pub name: &'static str,
    /// What it shows.
    pub title: String,
    /// What the axes are.
    pub axes: [&'static str; 2],
    /// A name and points for each line. All have the x values of the first.
    pub lines: Vec<(String, Vec<(u32, f64)>)>,
    /// Where it was measured.
    pub note: String,
}

const SIZE: [f64; 2] = [640.0, 360.0];
/// Left, top, right and bottom.
const MARGINS: [f64; 4] = [60.0, 40.0, 20.0, 70.0];
const COLOURS: [&str; 4] = ["#0b5cad", "#c4501b", "#2c7a3f", "#7a3e9d"];

impl Plot {
    /// Prints the values, and writes the plot into a directory.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    #[expect(clippy::print_stdout, reason = "for programs")]
    pub fn publish(&self, directory: &path::Path) -> io::Result<()> {
        println!("\n{}: {} by {}", self.title, self.axes[1], self.axes[0]);
        for (name, points) in &self.lines {
            let values: Vec<_> = points.iter().map(|(x, y)| format!("{x}: {y:.2}")).collect();
            println!("{name:32} {}", values.join("  "));
        }
        fs::create_dir_all(directory)?;
        fs::write(directory.join(self.name).with_extension("svg"), self.svg())
    }

    /// The plot.
    pub fn svg(&self) -> String {
        let [width, height] = SIZE;
        let [left, top, right, bottom] = MARGINS;
        let xs: Vec<u32> =
            self.lines.first().map_or_else(Vec::new, |(_, points)| points.iter().map(|(x, _)| *x).collect());
        let log = |x: u32| f64::from(x.max(1)).log2();
        let (first, last) = (xs.first().map_or(0.0, |x| log(*x)), xs.last().map_or(1.0, |x| log(*x)));
        let largest = self.lines.iter().flat_map(|(_, points)| points).map(|(_, y)| *y).fold(0.0, f64::max);
        let step = step(largest);
        let most = (largest / step).ceil().max(1.0) * step;
        let across = |x: u32| left + (log(x) - first) / (last - first).max(1e-9) * (width - left - right);
        let down = |y: f64| height - bottom - y / most * (height - top - bottom);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        let mut text = |x: f64, y: f64, anchor: &str, more: &str, text: &str| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            let _ =
                writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{more}>{text}</text>");
        };
        text(left, 18.0, "start", " font-size=\"14\"", &self.title);
        text((left + width - right) / 2.0, height - bottom + 32.0, "middle", "", self.axes[0]);
        text(left, 33.0, "start", " fill=\"#555\"", self.axes[1]);
        text(left, height - 6.0, "start", " fill=\"#555\" font-size=\"9\"", &self.note);
        for x in &xs {
            text(across(*x), height - bottom + 15.0, "middle", "", &x.to_string());
        }
        let ticks = (0..).map(|n| f64::from(n) * step).take_while(|y| *y <= most + step / 2.0);
        for y in ticks.clone() {
            text(left - 6.0, down(y) + 4.0, "end", "", &short(y, step));
        }
        let mut along = left;
        for (n, (name, _)) in self.lines.iter().enumerate() {
            let more = format!(" fill=\"{}\"", COLOURS[n % COLOURS.len()]);
            text(along, height - bottom + 48.0, "start", &more, name);
            along += 30.0 + 6.0 * name.len() as f64;
        }
        for y in ticks {
            let (from, to, y) = (left, width - right, down(y));
            let _ = writeln!(svg, "<path d=\"M{from:.1} {y:.1}H{to:.1}\" stroke=\"#ddd\"/>");
        }
        for (n, (_, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[n % COLOURS.len()];
            let places: Vec<_> =
                points.iter().map(|(x, y)| format!("{:.1},{:.1}", across(*x), down(*y))).collect();
            let line = places.join(" ");
            let _ = writeln!(
                svg,
                "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            );
            for (x, y) in points {
                let (x, y) = (across(*x), down(*y));
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
        }
        svg + "</svg>\n"
    }
}

/// Between lines: a round number, so that there are about five.
fn step(largest: f64) -> f64 {
    let rough = (largest / 5.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

fn short(value: f64, step: f64) -> String {
    if step >= 1.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// The processor, the kernel and the program's argument, to be shown with a plot.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let release = read("/proc/sys/kernel/osrelease");
    format!("{count} processors {}, Linux {}", model.map_or("", |(_, model)| model), release.trim())
}
