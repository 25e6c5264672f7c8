//! Plots as SVG: bars for comparisons, lines for what grows.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A plot that is not drawn yet.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plot {
    pub(crate) caption: String,
    /// The unit of the values, for example "milliseconds".
    pub(crate) unit: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Named values, drawn from top to bottom.
    Bars(Vec<(String, f64)>),
    /// Named lines of points. `over` names the x axis, which is logarithmic.
    Lines { over: String, lines: Vec<(String, Vec<(f64, f64)>)> },
}

const SIZE: (u32, u32) = (760, 380);

impl Plot {
    /// Writes the plot as SVG.
    ///
    /// # Errors
    ///
    /// The message of the plotting library.
    pub(crate) fn draw(&self, path: &Path) -> Result<(), String> {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(|e| e.to_string())?;
        match &self.kind {
            Kind::Bars(bars) => self.bars(&area, bars),
            Kind::Lines { over, lines } => self.lines(&area, over, lines),
        }
        .map_err(|e| e.to_string())?;
        area.present().map_err(|e| e.to_string())
    }

    fn bars(&self, area: &Area<'_>, bars: &[(String, f64)]) -> Drawn {
        let most = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let count = bars.len() as i32;
        let longest = bars.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.caption, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(20 + 7 * longest as i32)
            .build_cartesian_2d(0.0..most.max(f64::MIN_POSITIVE) * 1.15, 0..count)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(bars.len() + 1)
            .y_label_formatter(&|_| String::new())
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&plain)
            .x_desc(&self.unit)
            .draw()?;
        for (at, (label, value)) in bars.iter().enumerate() {
            let low = count - 1 - at as i32;
            let ours = label.contains("slot");
            let colour = if ours { RGBColor(31, 95, 191) } else { RGBColor(150, 150, 150) };
            let mut bar = Rectangle::new([(0.0, low), (*value, low + 1)], colour.filled());
            bar.set_margin(5, 5, 0, 0);
            chart.draw_series([bar])?;
            let (x, top) = chart.backend_coord(&(*value, low + 1));
            let (left, bottom) = chart.backend_coord(&(0.0, low));
            let middle = (top + bottom) / 2 - 7;
            let style = ("sans-serif", 13).into_font().color(&BLACK);
            area.draw_text(&figure(*value), &style, (x + 5, middle))?;
            let right = style.pos(Pos::new(HPos::Right, VPos::Top));
            area.draw_text(label, &right, (left - 8, middle))?;
        }
        Ok(())
    }

    fn lines(&self, area: &Area<'_>, over: &str, lines: &[(String, Vec<(f64, f64)>)]) -> Drawn {
        let points = || lines.iter().flat_map(|(_, points)| points);
        let low = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
        let high = points().map(|(x, _)| *x).fold(0.0, f64::max);
        let most = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.caption, ("sans-serif", 18))
            .margin(12)
            .margin_right(30)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d((low..high.max(low + 1.0)).log_scale(), 0.0..most * 1.1)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&plain)
            .y_label_formatter(&plain)
            .x_desc(over)
            .y_desc(&self.unit)
            .draw()?;
        for (at, (name, points)) in lines.iter().enumerate() {
            let colour = Palette99::pick(at).to_rgba();
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2))
                });
            chart.draw_series(points.iter().map(|at| Circle::new(*at, 3, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

/// A number on an axis, without decimals if it has none.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as the plotter calls it")]
fn plain(value: &f64) -> String {
    format!("{value}")
}

/// A value with about three digits, which is enough for a comparison.
fn figure(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}
