//! Counter-examples for people: the shortest way to a state that breaks a property, as numbered
//! sentences and as a file that can be walked again.

use std::collections::HashMap;
use std::fmt::{self, Debug, Write as _};
use std::hash::Hash;
use std::str::FromStr;

use stateright::{Expectation, Model, Property};

/// A counter-example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The configuration that it was found in.
    pub configuration: String,
    /// The property that it breaks.
    pub property: String,
    /// Its actions, as their `Debug` text.
    pub steps: Vec<String>,
    /// What the steps do, numbered.
    pub sentences: Vec<String>,
}

/// Why a trace cannot be walked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is none of a trace.
    #[error("this is no counter-example: the line `{0}: …` is missing")]
    NotATrace(&'static str),
    /// The model does not begin anywhere.
    #[error("the model has no first state")]
    NoStart,
    /// A step that the model does not allow there.
    #[error(
        "step {number}, `{step}`, is not possible there; possible is:{}",
        possible.iter().fold(String::new(), |list, one| list + "\n  " + one)
    )]
    Impossible {
        /// Which step, from 1.
        number: usize,
        /// Its text.
        step: String,
        /// What would be possible.
        possible: Vec<String>,
    },
}

/// The shortest sequence of actions to a state that breaks an `always`; none if there is none.
///
/// stateright's own discovery may be overwritten by a later, longer one, and with several threads its
/// search is not level by level. This one keeps the parent of each state.
pub fn shortest<M>(model: &M, property: &Property<M>) -> Option<Vec<M::Action>>
where
    M: Model,
    M::State: Clone + Eq + Hash,
    M::Action: Clone,
{
    let is_broken =
        |state: &M::State| match (&property.expectation, (property.condition)(model, state)) {
            (Expectation::Always, holds) => !holds,
            (Expectation::Sometimes | Expectation::Eventually, _) => false,
        };
    let mut known: HashMap<M::State, usize> = HashMap::new();
    // In the order of their distance.
    let mut found: Vec<Found<M::State, M::Action>> = Vec::new();
    for state in model.init_states() {
        known.insert(state.clone(), found.len());
        found.push(Found { state, from: None });
    }
    let mut next = 0;
    let mut actions = Vec::new();
    while let Some(state) = found.get(next).map(|found| found.state.clone()) {
        if is_broken(&state) {
            return Some(way_to(&found, next));
        }
        if model.within_boundary(&state) {
            model.actions(&state, &mut actions);
            for action in actions.drain(..) {
                let Some(after) = model.next_state(&state, action.clone()) else {
                    continue;
                };
                if !known.contains_key(&after) {
                    known.insert(after.clone(), found.len());
                    found.push(Found {
                        state: after,
                        from: Some((next, action)),
                    });
                }
            }
        }
        next += 1;
    }
    None
}

/// A state, and the parent and action that led to it first.
struct Found<S, A> {
    state: S,
    from: Option<(usize, A)>,
}

fn way_to<S, A: Clone>(found: &[Found<S, A>], end: usize) -> Vec<A> {
    let mut way = Vec::new();
    let mut at = end;
    while let Some((parent, action)) = found.get(at).and_then(|found| found.from.as_ref()) {
        way.push(action.clone());
        at = *parent;
    }
    way.reverse();
    way
}

impl Trace {
    /// Tells these actions, from the model's first state on.
    pub fn tell<M>(model: &M, configuration: &str, property: &str, actions: &[M::Action]) -> Self
    where
        M: Model,
        M::State: Clone + Debug,
        M::Action: Clone + Debug,
    {
        let mut sentences = Vec::new();
        let mut state = model.init_states().into_iter().next();
        for (number, action) in (1..).zip(actions) {
            let Some(before) = state else { break };
            sentences.push(sentence(model, number, &before, action));
            state = model.next_state(&before, action.clone());
        }
        Self {
            configuration: configuration.to_owned(),
            property: property.to_owned(),
            steps: actions.iter().map(|action| format!("{action:?}")).collect(),
            sentences,
        }
    }

    /// A name for its file: the configuration, and the property up to its colon.
    pub fn file_name(&self) -> String {
        let rule = self.property.split(':').next().unwrap_or(&self.property);
        let rule: String = rule
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        format!("{}-{rule}.trace", self.configuration)
    }
}

fn sentence<M>(model: &M, number: usize, before: &M::State, action: &M::Action) -> String
where
    M: Model,
    M::State: Debug,
    M::Action: Clone + Debug,
{
    let told = model.format_step(before, action.clone());
    format!(
        "{number}. {}",
        told.unwrap_or_else(|| format!("{action:?}"))
    )
}

/// The file's text: two headed lines, then each step under its sentence.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "configuration: {}", self.configuration)?;
        writeln!(f, "property: {}", self.property)?;
        for (step, sentence) in self.steps.iter().zip(&self.sentences) {
            writeln!(f, "# {sentence}")?;
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}

impl FromStr for Trace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let mut headed = |key: &'static str| {
            let line = lines.next().unwrap_or_default();
            let value = line
                .strip_prefix(key)
                .and_then(|rest| rest.strip_prefix(':'));
            let value = value.ok_or(Error::NotATrace(key))?;
            Ok(value.trim().to_owned())
        };
        let (configuration, property) = (headed("configuration")?, headed("property")?);
        let (sentences, steps): (Vec<&str>, Vec<&str>) =
            lines.partition(|line| line.starts_with('#'));
        let sentences = sentences
            .into_iter()
            .map(|line| line.trim_start_matches('#').trim().to_owned());
        Ok(Self {
            configuration,
            property,
            steps: steps.into_iter().map(str::to_owned).collect(),
            sentences: sentences.collect(),
        })
    }
}

/// Walks a trace: a sentence for each step, and at last which properties the end breaks.
///
/// # Errors
/// [`Error`] if a step is not possible.
pub fn replay<M>(model: &M, trace: &Trace) -> Result<Vec<String>, Error>
where
    M: Model,
    M::State: Clone + Debug,
    M::Action: Clone + Debug,
{
    let mut told = Vec::new();
    let mut state = model
        .init_states()
        .into_iter()
        .next()
        .ok_or(Error::NoStart)?;
    for (number, step) in (1..).zip(&trace.steps) {
        let mut actions = Vec::new();
        model.actions(&state, &mut actions);
        let action = actions
            .iter()
            .find(|action| format!("{action:?}") == *step)
            .cloned();
        let after = action
            .clone()
            .and_then(|action| model.next_state(&state, action));
        let (Some(action), Some(after)) = (action, after) else {
            return Err(Error::Impossible {
                number,
                step: step.clone(),
                possible: actions.iter().map(|action| format!("{action:?}")).collect(),
            });
        };
        told.push(sentence(model, number, &state, &action));
        state = after;
    }
    let mut end = String::from("at the end: ");
    let broken: Vec<&str> = model
        .properties()
        .iter()
        .filter(|property| matches!(property.expectation, Expectation::Always))
        .filter(|property| !(property.condition)(model, &state))
        .map(|property| property.name)
        .collect();
    if broken.is_empty() {
        end.push_str("every property holds");
    } else {
        let _ = write!(end, "broken: {}", broken.join("; "));
    }
    told.push(end);
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{GateModel, State};

    /// What the gate does within three steps, so that it serves as a property that is broken.
    fn broken() -> Property<GateModel> {
        Property::always("X: no breaker is half-open", |_, state: &State| {
            !state.is_half_open()
        })
    }

    fn counter_example() -> Trace {
        let actions = shortest(&GateModel, &broken()).unwrap();
        Trace::tell(&GateModel, "gate", broken().name, &actions)
    }

    #[test]
    fn the_shortest_way_is_found_and_told_in_numbered_sentences() {
        let trace = counter_example();
        assert_eq!(
            trace.sentences,
            [
                "1. Fail(Cooling) → breakers open and closed, queue PAUSED",
                "2. Tick → breakers half_open and closed, queue PAUSED",
            ]
        );
        assert_eq!(trace.file_name(), "gate-X.trace");
    }

    #[test]
    fn a_trace_is_written_read_and_walked_again() {
        let trace = counter_example();
        let read: Trace = trace.to_string().parse().unwrap();
        assert_eq!(read, trace);
        let mut expected = trace.sentences.clone();
        expected.push("at the end: every property holds".into());
        assert_eq!(replay(&GateModel, &read).unwrap(), expected);
    }

    #[test]
    fn a_step_that_is_not_possible_is_named_with_what_is() {
        let mut trace = counter_example();
        trace.steps.insert(0, "Resume".into());
        trace.steps.insert(1, "Jump".into());
        let Err(Error::Impossible {
            number,
            step,
            possible,
        }) = replay(&GateModel, &trace)
        else {
            panic!("it was walked");
        };
        assert_eq!((number, step.as_str()), (2, "Jump"));
        assert!(possible.contains(&"Tick".to_owned()));
    }

    #[test]
    fn what_is_no_trace_is_refused_naming_what_is_missing() {
        assert_eq!(
            "property: X".parse::<Trace>(),
            Err(Error::NotATrace("configuration"))
        );
        assert_eq!(
            "configuration: gate\nResume".parse::<Trace>(),
            Err(Error::NotATrace("property"))
        );
    }
}
