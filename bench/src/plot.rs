//! Draws charts as SVG. Knows nothing of what they show.

use std::ops::Range;
use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::combinators::{LogCoord, WithKeyPoints};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::rows::{Chart, Line};

const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 90, 160),
    RGBColor(200, 80, 0),
    RGBColor(20, 130, 60),
    RGBColor(150, 40, 140),
    RGBColor(110, 110, 110),
    RGBColor(170, 140, 0),
];

/// Writes the chart to a file of its name in this directory.
pub fn draw(chart: &Chart, directory: &Path) -> anyhow::Result<()> {
    let file = directory.join(format!("{}.svg", chart.file));
    let area = SVGBackend::new(&file, (860, 480)).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", file.display());
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let (x, y) = (
        extent(chart, |point| point.0),
        extent(chart, |point| point.1),
    );
    let y = if chart.y.logarithmic {
        (y.0 / 1.5, y.1 * 1.5)
    } else {
        (0.0, y.1 * 1.1)
    };
    let (x, y) = (x.0..x.1, y.0..y.1);
    let drawn = match (chart.x.logarithmic, chart.y.logarithmic) {
        (false, false) => lines(chart, &area, x, y),
        (true, false) => lines(chart, &area, logarithmic(x), y),
        (false, true) => lines(chart, &area, x, logarithmic(y)),
        (true, true) => lines(chart, &area, logarithmic(x), logarithmic(y)),
    };
    drawn.map_err(|error| failed(&error))?;
    area.present().map_err(|error| failed(&error))
}

fn logarithmic(range: Range<f64>) -> WithKeyPoints<LogCoord<f64>> {
    let ticks = ticks(&range);
    range.log_scale().with_key_points(ticks)
}

/// 1, 2, 5, 10 and so on; where there are many decades, one of each.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let (first, last) = (range.start.log10().floor(), range.end.log10().ceil());
    let steps: &[f64] = match last - first > 3.0 {
        true => &[1.0],
        false => &[1.0, 2.0, 5.0],
    };
    let decades = std::iter::successors(Some(first), |decade| Some(decade + 1.0));
    let decades = decades.take_while(|decade| *decade <= last);
    let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powf(decade)));
    all.filter(|tick| (range.start..=range.end).contains(tick))
        .collect()
}

fn lines<X, Y>(
    chart: &Chart,
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    x: X,
    y: Y,
) -> Result<(), Box<dyn std::error::Error>>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
    Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
{
    let mut drawn = ChartBuilder::on(area)
        .caption(&chart.title, ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(84)
        .build_cartesian_2d(x, y)
        .map_err(|error| error.to_string())?;
    drawn
        .configure_mesh()
        .x_desc(&chart.x.title)
        .y_desc(&chart.y.title)
        .x_label_formatter(&|value| short(*value))
        .y_label_formatter(&|value| short(*value))
        .label_style(("sans-serif", 14))
        .draw()
        .map_err(|error| error.to_string())?;
    for (Line { name, points }, colour) in chart.lines.iter().zip(COLOURS.into_iter().cycle()) {
        let style = colour.stroke_width(2);
        drawn
            .draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))
            .map_err(|error| error.to_string())?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    drawn
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 14))
        .draw()
        .map_err(|error| error.to_string())?;
    Ok(())
}

fn extent(chart: &Chart, of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
    let points = chart.lines.iter().flat_map(|line| &line.points);
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for point in points {
        least = least.min(of(point));
        most = most.max(of(point));
    }
    match least < most {
        true => (least, most),
        // One point, or none.
        false => (0.5, 1.5_f64.max(2.0 * most)),
    }
}

/// 250000 as 250k.
fn short(value: f64) -> String {
    let plain = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value.abs() {
        v if v >= 1e6 => format!("{}M", plain(value / 1e6)),
        v if v >= 1e3 => format!("{}k", plain(value / 1e3)),
        _ => plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_a_logarithmic_axis_are_few_and_each_is_there_once() {
        assert_eq!(ticks(&(1.0..64.0)), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(
            ticks(&(1e4..1e7)),
            [1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7]
        );
        assert_eq!(ticks(&(1e3..1e7)), [1e3, 1e4, 1e5, 1e6, 1e7]);
    }

    #[test]
    fn numbers_are_written_short() {
        let written = [0.0, 0.05, 12.0, 250_000.0, 1.5e6].map(short);
        assert_eq!(written, ["0", "0.05", "12", "250k", "1.5M"]);
    }
}
