//! Seats that come free early, because their holder's process ended.

use super::super::record::Parting;
use super::*;

/// A death that counts has freed its seats within this.
const FREED_WITHIN: Micros = 6_000_000;

impl Checker<'_> {
    /// The end of the process that held this lease.
    pub(super) fn died(&self, lease: &str) -> Option<&Parting> {
        self.recording.partings.iter().find(|parting| parting.died && parting.leases.iter().any(|own| own == lease))
    }

    /// When the connection of this generation began to stand for a lease, if the server took it: sent and answered.
    fn opened(&self, client: u32, lease: &str, generation: u64) -> Option<(Micros, Micros)> {
        self.recording.sendings.iter().find_map(|sending| match (&sending.asked, &sending.heard) {
            (Asked::Presence { generation: own, leases, .. }, Some(heard))
                if sending.client == client && *own == generation && heard.status == 200 && leases.iter().any(|own| own == lease) =>
            {
                Some((sending.sent, heard.received))
            }
            _ => None,
        })
    }

    /// Only death frees early, and death does.
    pub(super) fn presence(&mut self) {
        let mut wrong: Vec<(&'static str, String, String)> = Vec::new();
        for (name, lease) in &self.leases {
            if let Some((end, reason)) = &lease.end
                && reason == "presence"
                && let Some(says) = self.freed_wrongly(name, *end)
            {
                let says = format!("{name} was freed early with entry {}: {says}", self.entries[*end].index);
                wrong.push(("only_death_frees", says, name.clone()));
            }
            if let Some(says) = self.not_freed(name, lease) {
                wrong.push(("death_frees", says, name.clone()));
            }
        }
        for fact in self.facts.iter().filter(|fact| fact.kind == "presence_regretted") {
            if self.died(&fact.lease).is_some() {
                let says = format!("{} had ended, and is said to have come back: {}", fact.lease, fact.line);
                wrong.push(("only_the_living_regret", says, fact.lease.clone()));
            }
        }
        for (rule, says, lease) in wrong {
            self.violation(rule, says, &[&lease]);
        }
    }

    /// Renewals of a lease that were sent before some time, with the generation that each names, by their counters.
    fn renewals(&self, lease: &str, before: Micros) -> Vec<(u64, Option<u64>, &Deed)> {
        let deeds = self.deeds.get(lease).into_iter().flatten().filter(|deed| deed.sent < before);
        let mut renewals: Vec<_> = deeds
            .filter_map(|deed| match &deed.what {
                What::Renew { counter, presence, .. } => Some((*counter, *presence, deed)),
                _ => None,
            })
            .collect();
        renewals.sort_by_key(|(counter, _, deed)| (*counter, deed.sent));
        renewals
    }

    fn freed_wrongly(&self, lease: &str, end: usize) -> Option<String> {
        let Some(parting) = self.died(lease).filter(|parting| parting.at <= self.upper[end]) else {
            return Some("its process had not ended".to_owned());
        };
        let Some((opened, _)) = self.opened(parting.client, lease, parting.generation) else {
            return Some("its presence connection had not been taken".to_owned());
        };
        let names = |presence: &Option<u64>| *presence == Some(parting.generation);
        let renewals = self.renewals(lease, parting.at);
        if !renewals.iter().any(|(_, presence, deed)| names(presence) && deed.sent >= opened) {
            return Some("no renewal had named its presence connection".to_owned());
        }
        // Of what was not answered, nobody knows whether it was taken, and when.
        let last = renewals.iter().rposition(|(_, _, deed)| deed.answer.as_ref().is_some_and(|answer| answer.outcome == "renewed"));
        let unsaid = last.is_some_and(|last| !names(&renewals[last].1));
        let in_doubt = renewals.iter().any(|(_, presence, deed)| names(presence) && deed.answer.is_none());
        (unsaid && !in_doubt).then(|| "its last renewal had named no presence connection any more".to_owned())
    }

    /// A process that ended while all was well gives its seats back at once, and not when they expire.
    fn not_freed(&self, name: &str, lease: &Lease) -> Option<String> {
        let parting = self.died(name)?;
        let (opened, stood) = self.opened(parting.client, name, parting.generation)?;
        let until = parting.at + FREED_WITHIN;
        let away = self.recording.spells.iter().any(|spell| spell.to >= opened && spell.from <= until);
        let renewals = self.renewals(name, parting.at);
        let (_, presence, last) = renewals.last()?;
        let confirmed = *presence == Some(parting.generation) && last.sent > stood;
        let answered = renewals.iter().all(|(_, _, deed)| deed.answer.is_some()) && last.answer.as_ref()?.outcome == "renewed";
        let promised = last.sent + last.answer.as_ref()?.json.at("remaining_ms").number()? * 1_000;
        let over = lease.end.as_ref().is_some_and(|(end, reason)| reason != "expired" && self.lower[*end] <= until);
        let regretted = self.facts.iter().any(|fact| fact.kind == "presence_regretted");
        let ending = lease.ending.is_some();
        if away || !confirmed || !answered || regretted || ending || over || promised < until || until > self.recording.end {
            return None;
        }
        Some(format!(
            "the process of {name} ended at {}, and its seats were not freed within {} s",
            seconds(parting.at),
            FREED_WITHIN / 1_000_000
        ))
    }
}
