//! Bars beside their names: an image by itself, for light and dark pages.

use crate::chart::{Chart, Figure};
use crate::number::grouped;

const WIDTH: f64 = 760.0;
/// Of a row.
const HEIGHT: f64 = 26.0;
/// Above the first row.
const TOP: f64 = 56.0;
/// Of a character in bold, in the widest of the fonts that may be taken.
const CHARACTER: f64 = 8.8;

/// Two colors, the stronger one for ours; nothing has to be loaded to show it.
const STYLE: &str = "
text { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.unit { font-size: 12px; fill: #59636e }
.ours { font-weight: 600 }
rect { fill: #afb8c1 }
rect.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .unit { fill: #9198a1 }
  rect { fill: #57606a }
  rect.ours { fill: #4493f8 }
}
";

/// The image.
pub fn draw(chart: &Chart, figures: &[Figure]) -> String {
    let width = |text: &str| text.chars().count() as f64 * CHARACTER + 12.0;
    let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
    let left = widest(&mut figures.iter().map(|figure| width(&figure.name)));
    let right = widest(&mut figures.iter().map(|figure| width(&grouped(&figure.cell))));
    let room = WIDTH - left - right;
    let most = widest(&mut figures.iter().map(|figure| figure.value)).max(f64::MIN_POSITIVE);
    let height = TOP + HEIGHT * figures.len() as f64 + 8.0;
    let title = escaped(chart.title);
    let unit = escaped(chart.unit);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-labelledby="title desc">
<title id="title">{title}</title>
<desc id="desc">{}</desc>
<style>{STYLE}</style>
<text class="title" x="0" y="18">{title}</text>
<text class="unit" x="0" y="38">{unit}</text>
"#,
        escaped(&said(chart, figures)),
    );
    for (row, figure) in figures.iter().enumerate() {
        let top = TOP + HEIGHT * row as f64;
        let base = top + 17.0;
        let long = (figure.value.max(0.0) / most * room).max(1.0);
        let class = if figure.is_ours {
            r#" class="ours""#
        } else {
            ""
        };
        svg.push_str(&format!(
            r#"<text{class} x="{:.1}" y="{base}" text-anchor="end">{}</text>
<rect{class} x="{left:.1}" y="{:.1}" width="{long:.1}" height="{:.1}" rx="2"/>
<text{class} x="{:.1}" y="{base}">{}</text>
"#,
            left - 8.0,
            escaped(&figure.name),
            top + 4.0,
            HEIGHT - 8.0,
            left + long + 6.0,
            escaped(&grouped(&figure.cell)),
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// The same for who does not see it.
pub fn said(chart: &Chart, figures: &[Figure]) -> String {
    let each = |figure: &Figure| format!("{} {}", figure.name, grouped(&figure.cell));
    let figures: Vec<String> = figures.iter().map(each).collect();
    format!("{}: {}.", chart.unit, figures.join("; "))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::CHARTS;

    #[test]
    fn whatever_a_row_is_called_stays_text() {
        let figure = Figure {
            name: "Mutex<Option<Token>> & \"more\"".into(),
            cell: "> 8000".into(),
            value: 8_000.0,
            is_ours: false,
        };
        let svg = draw(&CHARTS[0], &[figure]);
        assert!(svg.contains("Mutex&lt;Option&lt;Token&gt;&gt; &amp; &quot;more&quot;</text>"));
        assert!(svg.contains("&gt; 8,000</text>"));
    }

    #[test]
    fn bars_of_nothing_are_drawn() {
        let figure = || Figure {
            name: "nothing".into(),
            cell: "-".into(),
            value: 0.0,
            is_ours: true,
        };
        let svg = draw(&CHARTS[0], &[figure(), figure()]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
