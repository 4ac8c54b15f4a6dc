//! Tables, in Markdown, on standard output.

use hdrhistogram::Histogram;

use crate::load::Measured;

/// A histogram of nanoseconds, up to ten minutes; longer counts as ten minutes.
pub(crate) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000_000, 3)?)
}

/// One line for people about one run.
pub(crate) fn line(measured: &Measured) -> String {
    format!(
        "{}: {} requests in {:.1} s, {:.0}/s; server CPU {:.1} us each; p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, max {:.0} us",
        measured.operation.name(),
        measured.requests,
        measured.elapsed.as_secs_f64(),
        measured.rate(),
        measured.cpu_us(),
        measured.quantile_us(0.5),
        measured.quantile_us(0.99),
        measured.quantile_us(0.999),
        measured.quantile_us(1.0),
    )
}

/// The head of the table that [`row`] fills.
pub(crate) const HEAD: &str = "\
| connections | operation | server CPU, us | CPU / empty | requests/s | rate / empty | p50, us | p99, us |
|---:|---|---:|---:|---:|---:|---:|---:|";

/// One row, against the empty answer at the same number of connections.
pub(crate) fn row(connections: usize, measured: &Measured, empty: &Measured) -> String {
    format!(
        "| {connections} | {} | {:.1} | {:.2} | {:.0} | {:.2} | {:.0} | {:.0} |",
        measured.operation.name(),
        measured.cpu_us(),
        measured.cpu_us() / empty.cpu_us(),
        measured.rate(),
        measured.rate() / empty.rate(),
        measured.quantile_us(0.5),
        measured.quantile_us(0.99),
    )
}
