//! A run: from a seed to a list of what happened, and from a list to a run again.

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::bug::Bug;
use crate::choose::Chooser;
use crate::judge::Violation;
use crate::rng::Rng;
use crate::world::{Setup, Telling, World};

/// How many things are tried in a run unless asked otherwise.
pub const STEPS: usize = 400;

/// How a line began, and what happened: all that a run needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// The seed that it came from.
    pub seed: u64,
    /// The mistake that was made on purpose.
    pub bug: Option<Bug>,
    /// How the line began.
    pub setup: Setup,
    /// What happened, in order.
    pub actions: Vec<Action>,
}

/// What became of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What must not have happened; none if all was well.
    pub violation: Option<Violation>,
    /// What identifies the run: two runs of one seed have the same.
    pub hash: u64,
    /// How many transactions were committed.
    pub commits: u64,
    /// What happened, in words, if that was asked for.
    pub told: Vec<String>,
}

/// Runs a seed; answers what happened, too.
pub fn seed(seed: u64, steps: usize, bug: Option<Bug>) -> (Script, Outcome) {
    let mut rng = Rng::new(seed);
    let setup = Setup::random(&mut rng);
    let mut chooser = Chooser::new(rng);
    let mut script = Script {
        seed,
        bug,
        setup,
        actions: Vec::new(),
    };
    let outcome = run(setup, bug, Telling::Silent, |world| {
        for _ in 0..steps {
            let action = chooser.next(world);
            let has_happened = world.act(&action);
            if !matches!(has_happened, Ok(false)) {
                script.actions.push(action);
            }
            has_happened?;
        }
        Ok(())
    });
    (script, outcome)
}

/// Runs a list once more.
pub fn replay(script: &Script, telling: Telling) -> Outcome {
    run(script.setup, script.bug, telling, |world| {
        for action in &script.actions {
            world.act(action)?;
        }
        Ok(())
    })
}

fn run(
    setup: Setup,
    bug: Option<Bug>,
    telling: Telling,
    happen: impl FnOnce(&mut World) -> Result<(), Violation>,
) -> Outcome {
    let mut world = match World::new(setup, bug, telling) {
        Ok(world) => world,
        Err(violation) => {
            return Outcome {
                violation: Some(violation),
                hash: 0,
                commits: 0,
                told: Vec::new(),
            };
        }
    };
    let violation = happen(&mut world).and_then(|()| world.calm_down()).err();
    Outcome {
        violation,
        hash: world.hash(),
        commits: world.commits(),
        told: world.told().to_vec(),
    }
}

/// Shortens a list that fails, as long as it fails by the same rule: halves first, single things last.
pub fn shrink(script: &Script, rule: &str) -> Script {
    let fails = |script: &Script| {
        let violation = replay(script, Telling::Silent).violation;
        violation.is_some_and(|violation| violation.rule == rule)
    };
    let mut shortest = script.clone();
    let mut size = shortest.actions.len().div_ceil(2);
    loop {
        let mut has_shrunk = false;
        let mut at = 0;
        while at < shortest.actions.len() {
            let end = at.saturating_add(size).min(shortest.actions.len());
            let mut shorter = shortest.clone();
            shorter.actions.drain(at..end);
            if fails(&shorter) {
                shortest = shorter;
                has_shrunk = true;
            } else {
                at = end;
            }
        }
        if size == 1 && !has_shrunk {
            return shortest;
        }
        size = size.div_ceil(2).max(1);
    }
}
