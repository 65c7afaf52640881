//! The chart: a bar for the jobs done a second and a thin one for those enqueued, for each row of the table.

use std::fmt::Write as _;
use std::path::Path;

use andon_bench::Outcome;
use andon_bench::report::whole;

use crate::contenders::Kind;
use crate::outcome::Row;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/images/peers.svg");
const WIDTH: f64 = 900.0;
/// Where the bars begin: left of it stand the names.
const LEFT: f64 = 250.0;
/// What is left free right of the longest bar, for its figure.
const RIGHT: f64 = 90.0;
const TOP: f64 = 58.0;
const ROW: f64 = 44.0;

/// Draws the rows, the fastest first.
pub(crate) fn write(rows: &[Row]) -> Outcome {
    std::fs::write(Path::new(FILE), svg(rows)?)?;
    Ok(())
}

fn svg(rows: &[Row]) -> Outcome<String> {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by(|a, b| b.drained().median.total_cmp(&a.drained().median));
    let rates = rows
        .iter()
        .flat_map(|row| [row.drained().median, row.enqueued().median]);
    let scale = (WIDTH - LEFT - RIGHT) / rates.fold(1.0, f64::max);
    let height = TOP + ROW * f64::from(u32::try_from(rows.len())?) + 12.0;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Jobs done and enqueued a second, by queue" font-family="system-ui, sans-serif" font-size="14" fill="#1b1f24">
<defs><pattern id="gone" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="#9aa4ae"/><rect width="2" height="6" fill="#ffffff"/></pattern></defs>
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="12" y="24" font-size="16" font-weight="600">Jobs done a second (thin bar: enqueued)</text>
<rect x="12" y="36" width="12" height="12" fill="#0b6e4f"/><text x="30" y="47" font-size="12">andon</text>
<rect x="90" y="36" width="12" height="12" fill="#6b7680"/><text x="108" y="47" font-size="12">keeps finished jobs</text>
<rect x="240" y="36" width="12" height="12" fill="url(#gone)"/><text x="258" y="47" font-size="12">does not</text>
<rect x="335" y="36" width="12" height="12" fill="#ffffff" stroke="#6b7680"/><text x="353" y="47" font-size="12">the bare claim and completion</text>
"##
    );
    let mut y = TOP;
    for row in rows {
        let (done, added) = (row.drained().median, row.enqueued().median);
        let fill = match row.contender.kind {
            Kind::Embedded | Kind::Served => r##"fill="#0b6e4f""##,
            Kind::Floor => r##"fill="#ffffff" stroke="#6b7680""##,
            Kind::Peer(_) if row.keeps_finished() => r##"fill="#6b7680""##,
            Kind::Peer(_) => r#"fill="url(#gone)""#,
        };
        let name = row.contender.name.replace('`', "");
        let (wide, thin) = (done * scale, added * scale);
        writeln!(
            svg,
            r##"<text x="{:.0}" y="{:.0}" text-anchor="end">{name}</text>
<rect x="{LEFT}" y="{y}" width="{wide:.1}" height="20" {fill}/><text x="{:.1}" y="{:.0}">{}</text>
<rect x="{LEFT}" y="{:.0}" width="{thin:.1}" height="5" fill="#c9a227"/><text x="{:.1}" y="{:.0}" font-size="10" fill="#57606a">{}</text>"##,
            LEFT - 10.0,
            y + 16.0,
            LEFT + wide + 8.0,
            y + 16.0,
            whole(done),
            y + 23.0,
            LEFT + thin + 8.0,
            y + 31.0,
            whole(added),
        )?;
        y += ROW;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
