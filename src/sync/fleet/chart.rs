//! Charts as SVG, read in light and in dark.

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 12px; fill: #59636e }
.one { fill: #0969da }
.two { fill: #bc4c00 }
.axis { stroke: #afb8c1; fill: none }
.mean { stroke: #1f2328; stroke-dasharray: 4 3; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .one { fill: #58a6ff }
  .two { fill: #f0883e }
  .axis { stroke: #57606a }
  .mean { stroke: #e6edf3 }
}";

const WIDTH: f64 = 880.0;
const LEFT: f64 = 60.0;

/// Bars beside each other from a common floor.
pub(super) struct Panel {
    pub(super) title: String,
    /// A class of the style, and the values, which share the width.
    pub(super) series: Vec<(&'static str, Vec<f64>)>,
    /// What the height stands for; higher bars are cut.
    pub(super) top: f64,
    /// Lines across, with their names.
    pub(super) levels: Vec<(f64, String)>,
    /// Names below, at parts of the width.
    pub(super) below: Vec<(f64, String)>,
}

const HEIGHT: f64 = 110.0;
const EACH: f64 = HEIGHT + 60.0;

/// All panels, one below the other.
pub(super) fn chart(title: &str, told: &str, panels: &[Panel]) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    for panel in panels {
        body += &panel.draw(y);
        y += EACH;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" \
         height=\"{y}\" role=\"img\" aria-labelledby=\"title desc\">\n<title id=\"title\">{title}</title>\n\
         <desc id=\"desc\">{told}</desc>\n<style>\n{STYLE}\n</style>\n{body}</svg>\n"
    )
}

impl Panel {
    fn draw(&self, y: f64) -> String {
        let (top, floor, wide) = (y + 24.0, y + 24.0 + HEIGHT, WIDTH - LEFT - 20.0);
        let mut drawn = text(LEFT, y + 14.0, "start", "", &self.title);
        for (class, values) in &self.series {
            drawn += &area(class, values, self.top, (LEFT, floor, wide));
        }
        for (level, name) in &self.levels {
            let at = floor - HEIGHT * (level / self.top).min(1.0);
            drawn += &format!("<path class=\"mean\" d=\"M{LEFT} {at:.1}h{wide}\"/>\n");
            drawn += &text(LEFT - 6.0, at + 4.0, "end", "small", name);
        }
        drawn += &format!("<path class=\"axis\" d=\"M{LEFT} {top}V{floor}h{wide}\"/>\n");
        for (part, name) in &self.below {
            drawn += &text(
                wide.mul_add(*part, LEFT),
                floor + 18.0,
                "middle",
                "small",
                name,
            );
        }
        drawn
    }
}

/// The outline of bars that touch; runs of equal height are one.
fn area(class: &str, values: &[f64], top: f64, (left, floor, wide): (f64, f64, f64)) -> String {
    let heights: Vec<String> = values
        .iter()
        .map(|value| format!("{:.1}", floor - HEIGHT * (value / top).min(1.0)))
        .collect();
    let count = f64::from(u32::try_from(values.len()).unwrap());
    let mut path = format!("M{left} {floor}");
    for (number, height) in (0_u32..).zip(&heights) {
        let at = number as usize;
        if at == 0 || heights[at - 1] != *height {
            path += &format!("V{height}");
        }
        if heights.get(at + 1) != Some(height) {
            path += &format!("H{:.1}", f64::from(number + 1).mul_add(wide / count, left));
        }
    }
    format!("<path class=\"{class}\" d=\"{path}V{floor}z\"/>\n")
}

fn text(x: f64, y: f64, anchor: &str, class: &str, words: &str) -> String {
    format!(
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>\n"
    )
}
