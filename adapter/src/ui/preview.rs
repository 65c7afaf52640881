//! The campaigns that a resume sets going, each with a box to keep it back (R9).

use askama::Template;
use askama::filters::HtmlSafe;

use super::show::Held;

/// A campaign that a resume would set going.
pub(super) struct Resuming {
    pub(super) id: String,
    pub(super) name: String,
    /// How many of its jobs go on.
    pub(super) jobs: String,
    pub(super) held: Held,
    /// Whether its box is ticked.
    pub(super) is_kept: bool,
}

/// Some of them as a table.
#[derive(Template)]
#[template(path = "preview_table.html")]
struct PreviewTable {
    /// The form that its boxes belong to.
    form: String,
    campaigns: Vec<Resuming>,
}

impl HtmlSafe for PreviewTable {}

/// All of them. Of many, most are folded away, so that the button below stays in sight.
#[derive(Template)]
#[template(path = "preview.html")]
pub(super) struct Preview {
    first: PreviewTable,
    rest: Option<PreviewTable>,
}

impl HtmlSafe for Preview {}

/// How many are shown at once.
const SHOWN_MAX: usize = 10;

/// How many are shown before the others, if there are more.
const SHOWN_OF_MANY: usize = 3;

impl Preview {
    /// See [`Preview`].
    pub(super) fn of(form: &str, campaigns: impl Iterator<Item = Resuming>) -> Self {
        let table = |campaigns| PreviewTable {
            form: form.to_owned(),
            campaigns,
        };
        let mut first: Vec<Resuming> = campaigns.collect();
        let rest = if first.len() > SHOWN_MAX {
            first.split_off(SHOWN_OF_MANY)
        } else {
            Vec::new()
        };
        Self {
            first: table(first),
            rest: (!rest.is_empty()).then(|| table(rest)),
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.first.campaigns.is_empty()
    }
}

impl PreviewTable {
    /// Whether somebody has ticked one: then it is seen.
    fn has_kept(&self) -> bool {
        self.campaigns.iter().any(|campaign| campaign.is_kept)
    }
}
