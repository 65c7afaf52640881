//! Lists: pages by number and by cursor, and filters.

use std::fmt::Display;

use crate::line::{Error, InvalidField, Result};
use crate::store::Page;

/// How many items a page has unless the client says otherwise.
const PER_PAGE_DEFAULT: u32 = 50;

/// How many items a page has at most.
const PER_PAGE_MAX: u32 = 200;

/// Which part of a list a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paging {
    after: Option<u128>,
    offset: u64,
    per_page: u32,
}

fn invalid(path: &str, problem: impl Into<String>) -> Error {
    Error::Invalid(vec![InvalidField {
        path: path.into(),
        problem: problem.into(),
    }])
}

impl Paging {
    /// Reads a query.
    pub(crate) fn read(
        page: Option<u32>,
        per_page: Option<u32>,
        after: Option<&str>,
    ) -> Result<Self> {
        let per_page = per_page.unwrap_or(PER_PAGE_DEFAULT);
        if !(1..=PER_PAGE_MAX).contains(&per_page) {
            return Err(invalid("per_page", "must be between 1 and 200"));
        }
        let offset = match page {
            Some(0) => return Err(invalid("page", "must be at least 1")),
            Some(_) if after.is_some() => {
                return Err(invalid("page", "cannot be used together with after"));
            }
            Some(page) => u64::from(page - 1).saturating_mul(per_page.into()),
            None => 0,
        };
        Ok(Self {
            after: after.map(read_cursor).transpose()?,
            offset,
            per_page,
        })
    }

    /// What the line is asked for: one more than the page has, to see whether it is the last.
    pub(crate) fn page<Id>(self, id: impl FnOnce(u128) -> Id) -> Page<Id> {
        Page {
            after: self.after.map(id),
            offset: self.offset,
            limit: self.per_page.saturating_add(1),
        }
    }

    /// Cuts what the line gave to the page, and names the cursor of the next one, if there is one.
    pub(crate) fn cut<T>(
        self,
        mut items: Vec<T>,
        id: impl FnOnce(&T) -> u128,
    ) -> (Vec<T>, Option<String>) {
        let per_page = self.per_page as usize;
        if items.len() <= per_page {
            return (items, None);
        }
        items.truncate(per_page);
        let cursor = items.last().map(|last| write_cursor(id(last)));
        (items, cursor)
    }
}

/// A cursor is opaque to clients: the place of the last item, which does not move when others are added.
fn write_cursor(place: u128) -> String {
    format!("c{place:032x}")
}

fn read_cursor(text: &str) -> Result<u128> {
    text.strip_prefix('c')
        .filter(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|hex| u128::from_str_radix(hex, 16).ok())
        .ok_or_else(|| invalid("after", "is not a cursor that a page has given"))
}

/// Reads `RUNNING,PAUSED`: none for all.
pub(crate) fn read_statuses<S: Copy + Display>(text: Option<&str>, all: &[S]) -> Result<Vec<S>> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    text.split(',')
        .map(|name| {
            let name = name.trim();
            all.iter()
                .find(|status| status.to_string().eq_ignore_ascii_case(name))
                .copied()
                .ok_or_else(|| {
                    let known: Vec<String> = all.iter().map(ToString::to_string).collect();
                    invalid("status", format!("must be of {}", known.join(", ")))
                })
        })
        .collect()
}

/// Reads a text that is searched for.
pub(crate) fn read_text(path: &str, text: Option<String>) -> Result<Option<String>> {
    match text {
        Some(text) if text.chars().count() > 255 => {
            Err(invalid(path, "must have at most 255 characters"))
        }
        Some(text) if text.chars().any(char::is_control) => {
            Err(invalid(path, "must not contain control characters"))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_what_it_writes_and_nothing_else() {
        for place in [0, 1, u128::MAX] {
            assert_eq!(read_cursor(&write_cursor(place)).unwrap(), place);
        }
        let long = "c".to_owned() + &"0".repeat(33);
        for wrong in [
            "",
            "c",
            "c12",
            "c+0000000000000000000000000000001",
            "x",
            &long,
        ] {
            assert!(read_cursor(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_says_what_is_next_only_if_there_is_more() {
        let paging = Paging::read(None, Some(2), None).unwrap();
        assert_eq!(paging.page(|id| id).limit, 3);
        assert_eq!(paging.cut(vec![9, 8], |id| *id), (vec![9, 8], None));
        let (items, next) = paging.cut(vec![9, 8, 7], |id| *id);
        assert_eq!(items, [9, 8]);
        assert_eq!(read_cursor(&next.unwrap()).unwrap(), 8);
    }

    #[test]
    fn pages_out_of_range_are_refused() {
        assert!(Paging::read(Some(0), None, None).is_err());
        assert!(Paging::read(None, Some(0), None).is_err());
        assert!(Paging::read(None, Some(201), None).is_err());
        assert!(Paging::read(Some(2), None, Some(&write_cursor(1))).is_err());
        let third = Paging::read(Some(3), Some(20), None).unwrap();
        assert_eq!(third.page(|id| id).offset, 40);
    }
}
