//! `rpo` and `rpo_typical` of a scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::problem::did_you_mean;
use super::super::raw::{Table, Value};
use super::super::{Backup, Brought};
use super::Known;

/// One objective for every component that is recovered, or one for each.
pub(super) fn objective(
    value: &Value<'_>,
    recover: &[String],
    known: &Known<'_>,
) -> BTreeMap<String, Duration> {
    let recovered: Vec<&str> = recover
        .iter()
        .filter_map(|backup| Some(known.backups.get(backup)?.component.as_str()))
        .collect();
    // What is not drilled yet names no backup: its objective is one for everything.
    let limited = match recovered.is_empty() {
        true => known.components.names().collect(),
        false => recovered.clone(),
    };
    let rowless = |component: &str, value: &Value<'_>| {
        let of = recover.iter().filter_map(|name| known.backups.get(name));
        let of: Vec<&Backup> = of.filter(|b| b.component == component).collect();
        if !of.is_empty() && !Brought::by(of.iter().copied()).has_rows() {
            let message =
                format!("`{component}` is recovered without its rows: no loss can be measured");
            value.wrong(message, None);
        }
    };
    if !value.is_table() {
        for name in limited.iter().collect::<BTreeSet<_>>() {
            rowless(name, value);
        }
        // A wrong one was noted; a placeholder keeps tests of it from being reported on top.
        let limit = value.duration_or_zero().unwrap_or_default();
        return limited
            .iter()
            .map(|name| ((*name).to_owned(), limit))
            .collect();
    }
    let mut all = BTreeMap::new();
    for entry in value.table().iter().flat_map(Table::entries) {
        let limit = entry.duration_or_zero().unwrap_or_default();
        let entry = entry.at_key();
        if known.components.refer_by(&entry, &entry.key).is_some()
            && !recovered.is_empty()
            && !recovered.contains(&entry.key.as_str())
        {
            let message = format!("this scenario does not recover component `{}`", entry.key);
            entry.wrong(message, did_you_mean(&entry.key, recovered.iter().copied()));
        }
        rowless(&entry.key, &entry);
        all.insert(entry.key, limit);
    }
    all
}
