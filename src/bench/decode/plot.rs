//! Latency against success as an SVG: one point a decoder, with its Wilson interval.

use std::fmt::Write as _;

use super::success::Outcome;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 60.0;

/// The plot of the cells without delay.
pub fn svg(outcomes: &[Outcome]) -> String {
    let points: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.cell.starts_with("delay")).collect();
    let us = |outcome: &&&Outcome| outcome.decode_us_p50.log10();
    let low = points.iter().map(|p| us(&p)).fold(f64::INFINITY, f64::min).floor();
    let high = points.iter().map(|p| us(&p)).fold(f64::NEG_INFINITY, f64::max).ceil().max(low + 1.0);
    let bottom = points.iter().map(|p| p.wilson95[0]).fold(1.0, f64::min);
    let bottom = (20.0 * bottom).floor() / 20.0;
    let x = |us: f64| LEFT + (us.log10() - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let y = |success: f64| HEIGHT - BOTTOM - (success - bottom) / (1.0 - bottom) * (HEIGHT - TOP - BOTTOM);
    let mut svg = String::new();
    let mut line = |text: &str| {
        let _ = writeln!(svg, "{text}");
    };
    line(&format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">"#
    ));
    line(
        "<style>.ink{fill:#222}.axis{stroke:#888;stroke-width:1}.grid{stroke:#8884;stroke-width:1}.bar{stroke:#2a6fb0;stroke-width:1.5}.dot{fill:#2a6fb0}",
    );
    line("@media(prefers-color-scheme:dark){.ink{fill:#ddd}.bar{stroke:#7db8ef}.dot{fill:#7db8ef}}</style>");
    for decade in low as i32..=high as i32 {
        let at = x(10_f64.powi(decade));
        line(&format!(r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{:.1}"/>"#, HEIGHT - BOTTOM));
        let label = match 10_f64.powi(decade) {
            us if us >= 1000.0 => format!("{} ms", us / 1000.0),
            us => format!("{us} µs"),
        };
        line(&format!(r#"<text class="ink" x="{at:.1}" y="{:.1}" text-anchor="middle">{label}</text>"#, HEIGHT - BOTTOM + 20.0));
    }
    let mut percent = (100.0 * bottom).round() as i32;
    while percent <= 100 {
        let at = y(f64::from(percent) / 100.0);
        line(&format!(r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{at:.1}" y2="{at:.1}"/>"#, WIDTH - RIGHT));
        line(&format!(r#"<text class="ink" x="{:.1}" y="{:.1}" text-anchor="end">{percent} %</text>"#, LEFT - 8.0, at + 4.0));
        percent += 5;
    }
    line(&format!(
        r#"<text class="ink" x="{:.1}" y="{:.1}" text-anchor="middle">time of a plan, median</text>"#,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 14.0
    ));
    line(&format!(
        r#"<text class="ink" transform="translate(18 {:.1}) rotate(-90)" text-anchor="middle">success, 95 % interval</text>"#,
        (TOP + HEIGHT - BOTTOM) / 2.0
    ));
    // Labels in a column at the right, in the order of the points' heights, far enough apart to be read.
    let mut order = points.clone();
    order.sort_by(|a, b| b.success.total_cmp(&a.success));
    let mut label_at = TOP;
    for point in order {
        let (px, py) = (x(point.decode_us_p50), y(point.success));
        let [low, high] = point.wilson95.map(y);
        line(&format!(r#"<line class="bar" x1="{px:.1}" x2="{px:.1}" y1="{low:.1}" y2="{high:.1}"/>"#));
        line(&format!(r#"<circle class="dot" cx="{px:.1}" cy="{py:.1}" r="4"/>"#));
        label_at = f64::max(label_at + 18.0, py.min(HEIGHT - BOTTOM - 18.0 * 9.0));
        let from = WIDTH - RIGHT + 8.0;
        line(&format!(r#"<line class="grid" x1="{px:.1}" y1="{py:.1}" x2="{from:.1}" y2="{label_at:.1}"/>"#));
        line(&format!(
            r#"<text class="ink" x="{:.1}" y="{:.1}">{} {:.1} %</text>"#,
            from + 4.0,
            label_at + 4.0,
            point.cell.replace('_', " "),
            100.0 * point.success
        ));
    }
    line("</svg>");
    svg
}
