//! Figures over time, for charts.

use std::collections::BTreeSet;
use std::sync::Arc;

use andon::{CampaignId, CampaignStage, ServiceName, Timestamp};

use super::campaigns::after;
use super::gate::COUNT_MAX;
use super::tables::{Tables, rows_max};
use crate::store::{CallCountRow, CampaignRow, Grain, SampleFilter, SampleOf, SampleRow};

impl Tables {
    pub(super) fn campaigns_running(
        &self,
        last: Option<CampaignId>,
        limit: u32,
    ) -> Vec<CampaignRow> {
        self.campaigns
            .range(after(last))
            .map(|(_, row)| row)
            .filter(|row| row.facts.stage() == CampaignStage::Running)
            .take(rows_max(limit))
            .map(|row| CampaignRow::clone(row))
            .collect()
    }

    pub(super) fn campaigns_ended_unsampled(
        &self,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Vec<CampaignRow> {
        let mut ended: Vec<(Timestamp, CampaignId, &Arc<CampaignRow>)> = self
            .campaigns
            .rows()
            .filter_map(|row| Some((row.finished_at?, row.facts.id(), row)))
            .filter(|(at, id, _)| (since..=until).contains(at) && !self.is_sampled_from(*id, *at))
            .collect();
        ended.sort_by_key(|(at, id, _)| (*at, *id));
        let ended = ended.into_iter().take(rows_max(limit));
        ended.map(|(_, _, row)| CampaignRow::clone(row)).collect()
    }

    fn is_sampled_from(&self, id: CampaignId, at: Timestamp) -> bool {
        let key = |at| (SampleOf::Campaign(id), Grain::Fine, at);
        let last = key(Timestamp::from_micros(i64::MAX));
        self.samples.range(key(at)..=last).next().is_some()
    }

    pub(super) fn samples_write(&mut self, samples: &[SampleRow]) {
        for row in samples {
            self.samples
                .put((row.of, row.grain, row.at), Arc::new(row.clone()));
        }
    }

    pub(super) fn samples_read(&self, filter: &SampleFilter) -> Vec<SampleRow> {
        if filter.since > filter.until {
            return Vec::new();
        }
        let key = |at| (filter.of, filter.grain, at);
        self.samples
            .range(key(filter.since)..=key(filter.until))
            .take(rows_max(filter.limit))
            .map(|(_, row)| SampleRow::clone(row))
            .collect()
    }

    pub(super) fn samples_latest(
        &self,
        of: &[SampleOf],
        grain: Grain,
        until: Timestamp,
    ) -> Vec<SampleRow> {
        let first = Timestamp::from_micros(i64::MIN);
        of.iter()
            .filter_map(|of| {
                let keys = (*of, grain, first)..=(*of, grain, until);
                self.samples.range_back(keys).next()
            })
            .map(|(_, row)| SampleRow::clone(row))
            .collect()
    }

    pub(super) fn samples_prune(&mut self, grain: Grain, before: Timestamp, limit: u32) -> u64 {
        let old = self.samples.rows();
        let old = old.filter(|row| row.grain == grain && row.at < before);
        let old: BTreeSet<_> = old.map(|row| (row.at, row.of)).collect();
        let mut pruned = 0;
        for (at, of) in old.into_iter().take(rows_max(limit)) {
            self.samples.delete((of, grain, at));
            pruned += 1;
        }
        pruned
    }

    pub(super) fn samples_delete(&mut self, of: CampaignId) {
        let keys = self.samples.range(..).map(|(key, _)| *key);
        let keys: Vec<_> = keys
            .filter(|(whose, _, _)| *whose == SampleOf::Campaign(of))
            .collect();
        for key in keys {
            self.samples.delete(key);
        }
    }

    pub(super) fn call_counts_add(&mut self, counts: &[CallCountRow]) {
        for more in counts {
            let key = (more.service.clone(), more.minute);
            let known = self.call_counts.get(&key);
            let sum = |of: fn(&CallCountRow) -> u64| {
                let sum = known.map_or(0, of).saturating_add(of(more));
                sum.min(COUNT_MAX)
            };
            let row = CallCountRow {
                succeeded: sum(|row| row.succeeded),
                failed: sum(|row| row.failed),
                ..more.clone()
            };
            self.call_counts.put(key, row);
        }
    }

    pub(super) fn call_counts_read(
        &self,
        service: &ServiceName,
        since: Timestamp,
        until: Timestamp,
    ) -> Vec<CallCountRow> {
        if since > until {
            return Vec::new();
        }
        let keys = (service.clone(), since)..=(service.clone(), until);
        let rows = self.call_counts.range(keys);
        rows.map(|(_, row)| row.clone()).collect()
    }

    pub(super) fn call_counts_prune(&mut self, before: Timestamp, limit: u32) -> u64 {
        let old = self.call_counts.rows().filter(|row| row.minute < before);
        let old: BTreeSet<_> = old.map(|row| (row.minute, row.service.clone())).collect();
        let mut pruned = 0;
        for (minute, service) in old.into_iter().take(rows_max(limit)) {
            self.call_counts.delete((service, minute));
            pruned += 1;
        }
        pruned
    }
}
