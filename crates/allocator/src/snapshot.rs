//! The hard state as records, out and in.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Allocator, Claim, ContentDigest, EntitlementId, Epoch, GrantedItem, Holder, Index, Moment, PoolId, Rules, StateRecord, Timestamp,
    VendorId,
    allocator::{Pool, Vendor, Waiter},
    memory::Remembered,
    store::{Features, Lease, Phase, SPREAD, Slot, UNSEALED},
};

impl Allocator {
    /// The hard state in canonical order.
    pub fn snapshot(&self) -> Box<dyn Iterator<Item = StateRecord> + '_> {
        let head = StateRecord::Head {
            lineage: self.lineage,
            epoch: self.epoch,
            index: self.index,
            at: self.head.at,
            wall_ms: self.head.wall_ms,
            quarantine_until: self.quarantine_until,
            next_vendor: self.vendors.len() as u32,
            next_pool: self.pools.len() as u32,
            next_entitlement: self.rights.len() as u32,
            clock_refused: self.clock_refused,
            forgotten_until: self.forgotten_until,
            instance: self.instance,
            lineage_since: self.lineage_since,
            ttl_max_seen_ms: self.ttl_max_seen_ms,
            remember_ms: self.remember_ms,
            wait_ttl_ms: self.wait_ttl_ms,
        };
        let epochs = self.epochs.iter().map(|epoch| StateRecord::Epoch(*epoch));
        let vendors = self.vendors.iter().zip(0..).filter_map(|(vendor, id)| {
            let vendor = vendor.as_ref()?;
            let vendor_id = VendorId(id);
            let into = self.merging.get(&vendor_id).copied();
            Some(StateRecord::Vendor { vendor: vendor_id, name: vendor.name.clone(), keys: vendor.keys.clone(), into })
        });
        let pools = self.pools.iter().zip(0..).filter_map(|(pool, id)| {
            let into = self.aliases.get(&PoolId(id)).copied();
            let now = self.pool(self.resolve(PoolId(id)))?;
            debug_assert!(pool.is_some() || into.is_some());
            Some(StateRecord::Pool { pool: PoolId(id), vendor: now.vendor, feature: now.feature.clone(), into })
        });
        let replaced: BTreeMap<EntitlementId, u64> = self.taken_off.iter().zip(0..).collect();
        let licenses = self.licenses.iter().map(move |(first, license)| StateRecord::License {
            license: license.hash,
            note: license.note.to_vec(),
            terms: Arc::clone(&license.terms),
            problem: license.problem.clone(),
            vendor: license.vendor,
            first_entitlement: *first,
            pools: license.rights(*first).filter_map(|right| Some(self.resolve(self.right(right)?.pool))).collect(),
            actor: license.actor.clone(),
            removed: license.removed,
            replaced: replaced.get(first).copied(),
        });
        let rights = self.rights.iter().zip(0..).filter_map(|(right, id)| {
            let right = right.as_ref()?;
            Some(StateRecord::Entitlement { entitlement: EntitlementId(id), began: right.began, ended: right.ended })
        });
        let live = self.leases.slots().filter(|slot| self.leases.at(*slot).phase != Phase::Lingering).map(|slot| self.lease_record(slot));
        let lingering = self.leases.slots().filter(|slot| self.leases.at(*slot).phase == Phase::Lingering).map(|slot| {
            let lease = self.leases.at(slot);
            let embeds = lease.wish.embeds.keys.clone();
            StateRecord::Lingering { lease: lease.id, items: self.items_of(slot), until: lease.deadline, embeds }
        });
        let line = self.line.values().zip(0..).map(|(waiter, order)| StateRecord::Waiter {
            lease: waiter.lease,
            attempt: waiter.attempt,
            content: waiter.content,
            holder: waiter.holder.clone(),
            items: waiter
                .items
                .iter()
                .map(|item| GrantedItem { pool: self.resolve(item.pool), version: item.version, seats: item.seats, charges: Vec::new() })
                .collect(),
            ttl_ms: waiter.ttl_ms,
            linger_ms: waiter.linger_ms,
            gives_up: waiter.gives_up,
            order,
            heard: Epoch(waiter.heard.into()),
            // Moved by asking, so nothing that replay could know.
            unheard_due: if waiter.heard == self.epoch_narrow() { Timestamp(0) } else { waiter.due },
            embeds: waiter.embeds.keys.clone(),
            network: waiter.network,
        });
        let remembered = self.remembered.iter().map(|(lease, known)| StateRecord::Remembered {
            lease,
            attempt: known.attempt,
            content: known.content,
            denial: known.denial,
            ended: known.ended,
            forget: known.forget,
            network: known.network,
        });
        let format = (!self.format.is_empty()).then(|| StateRecord::Format { words: self.format.clone() });
        let accepted = self.accepted.iter().map(|(lease, words)| StateRecord::WordsAccepted { lease: *lease, words: words.clone() });
        let presence_off = self.presence_off.all().map(|(networks, until)| StateRecord::PresenceOff { networks, until });
        let freed_early = self.freed_early.iter().map(|(until, leases)| StateRecord::FreedEarly { until: *until, leases: *leases });
        Box::new(
            // What a reader must know comes before all that it might not.
            std::iter::once(head)
                .chain(format)
                .chain(epochs)
                .chain(vendors)
                .chain(pools)
                .chain(licenses)
                .chain(rights)
                .chain(live)
                .chain(lingering)
                .chain(line)
                .chain(remembered)
                .chain(presence_off)
                .chain(freed_early)
                .chain(accepted),
        )
    }

    /// What a lease holds, without where it is charged.
    pub(crate) fn seats_of(&self, slot: Slot) -> Vec<GrantedItem> {
        let items = self.leases.at(slot).wish.items.iter();
        let plain = |item: &crate::store::WishItem| GrantedItem {
            pool: self.resolve(item.pool),
            version: item.version,
            seats: item.seats,
            charges: Vec::new(),
        };
        items.map(plain).collect()
    }

    pub(crate) fn items_of(&self, slot: Slot) -> Vec<GrantedItem> {
        let lease = self.leases.at(slot);
        let item = |(position, item): (usize, &crate::store::WishItem)| GrantedItem {
            pool: self.resolve(item.pool),
            version: item.version,
            seats: item.seats,
            charges: self.leases.charges(slot, position),
        };
        lease.wish.items.iter().enumerate().map(item).collect()
    }

    fn lease_record(&self, slot: Slot) -> StateRecord {
        let lease = self.leases.at(slot);
        let claimable = lease.phase == Phase::Claimable;
        let heard = !claimable && lease.heard == self.epoch_narrow();
        StateRecord::Lease {
            lease: lease.id,
            attempt: lease.attempt,
            content: lease.content,
            holder: lease.holder.holder(),
            items: self.items_of(slot),
            granted_at: lease.granted_at,
            granted_wall_ms: lease.granted_wall_ms,
            granted_epoch: Epoch(lease.granted_epoch.into()),
            granted_index: Index(if lease.granted_index == UNSEALED { 0 } else { lease.granted_index }),
            ttl_ms: lease.wish.ttl_ms.into(),
            linger_ms: lease.wish.linger_ms.into(),
            asked_ttl_ms: lease.wish.asked_ttl_ms.map(u64::from),
            claim_due: claimable.then_some(lease.deadline),
            heard: Epoch(lease.heard.into()),
            // Moved by renewals, so nothing that replay could know.
            unheard_deadline: if heard || lease.ending.is_some() { Timestamp(0) } else { lease.deadline },
            ending: lease.ending.map(|reason| (lease.deadline, reason)),
            not_before: self.floors.get(&lease.id).copied(),
            adopted: self.adopted.get(&lease.id).map_or(Vec::new(), |charges| charges.to_vec()),
            embeds: lease.wish.embeds.keys.clone(),
            network: lease.holder.network(),
        }
    }

    /// Rebuilds the state from a snapshot's records. Fails with a description if they break an invariant or a license in them does not verify.
    ///
    /// # Errors
    /// What is wrong with the records; the server must not start on them.
    pub fn load(rules: impl Into<Rules>, records: impl IntoIterator<Item = StateRecord>) -> Result<Self, String> {
        let mut records = records.into_iter();
        let mut state = Self::new(rules);
        let Some(StateRecord::Head {
            lineage,
            epoch,
            index,
            at,
            wall_ms,
            quarantine_until,
            next_vendor,
            next_pool,
            next_entitlement,
            clock_refused,
            forgotten_until,
            instance,
            lineage_since,
            ttl_max_seen_ms,
            remember_ms,
            wait_ttl_ms,
        }) = records.next()
        else {
            return Err("a snapshot begins with its head".into());
        };
        if u32::try_from(epoch.0).is_err() {
            return Err(format!("epoch {} is beyond all epochs", epoch.0));
        }
        state.lineage = lineage;
        state.epoch = epoch;
        state.index = index;
        state.head = Moment { at, wall_ms };
        state.now = state.head;
        state.fact_at = at;
        state.quarantine_until = quarantine_until;
        state.clock_refused = clock_refused;
        state.instance = instance;
        state.lineage_since = lineage_since;
        state.ttl_max_seen_ms = ttl_max_seen_ms;
        state.remember_ms = remember_ms;
        state.wait_ttl_ms = wait_ttl_ms;
        state.forgotten_until = forgotten_until;
        for record in records {
            state.load_record(record)?;
        }
        let pad = |have: usize, want: u32, what: &str| {
            let want = want as usize;
            if have > want { Err(format!("{have} {what}, the head says {want}")) } else { Ok(want) }
        };
        let vendors = pad(state.vendors.len(), next_vendor, "vendors")?;
        state.vendors.resize_with(vendors, || None);
        let pools = pad(state.pools.len(), next_pool, "pools")?;
        state.pools.resize_with(pools, || None);
        let rights = pad(state.rights.len(), next_entitlement, "entitlements")?;
        state.rights.resize_with(rights, || None);
        for id in (0..next_entitlement).map(EntitlementId) {
            state.schedule(id);
            let Some((pool, held)) = state.right(id).filter(|right| !right.in_force()).map(|right| (right.pool, !right.held.is_empty()))
            else {
                continue;
            };
            if held {
                state.stranded.insert((state.resolve(pool), id));
            }
        }
        let firsts: Vec<_> = state.licenses.keys().copied().collect();
        firsts.into_iter().for_each(|first| state.note_replacing_if_begun(first));
        state.note_returning();
        state.all_lines_dirty();
        state.check_invariants()?;
        Ok(state)
    }

    fn load_record(&mut self, record: StateRecord) -> Result<(), String> {
        match record {
            StateRecord::Head { .. } => Err("a snapshot has one head".into()),
            StateRecord::Epoch(epoch) => {
                self.epochs.push_back(epoch);
                Ok(())
            }
            StateRecord::Vendor { vendor, name, keys, into } => {
                if (vendor.0 as usize) < self.vendors.len() {
                    return Err(format!("{vendor:?} is out of order"));
                }
                self.vendors.resize_with(vendor.0 as usize, || None);
                self.vendors.push(Some(Vendor { name: name.clone(), keys: Vec::new(), features: Features::default() }));
                self.merging.extend(into.map(|into| (vendor, into)));
                self.add_keys(vendor, &name, &keys)
            }
            StateRecord::Pool { pool, vendor, feature, into } => {
                if (pool.0 as usize) < self.pools.len() {
                    return Err(format!("{pool:?} is out of order"));
                }
                self.pools.resize_with(pool.0 as usize, || None);
                if let Some(into) = into {
                    self.aliases.insert(pool, into);
                    self.pools.push(None);
                    return Ok(());
                }
                let owner = self.vendors.get_mut(vendor.0 as usize).and_then(Option::as_mut).ok_or_else(|| format!("no {vendor:?}"))?;
                if !owner.features.insert(feature.clone(), pool) {
                    return Err(format!("two pools for {feature}"));
                }
                self.pools.push(Some(Pool::new(vendor, feature)));
                Ok(())
            }
            StateRecord::License { license, note, terms, problem, vendor, first_entitlement, pools, actor, removed, replaced } => {
                if (first_entitlement.0 as usize) < self.rights.len() {
                    return Err(format!("license {license} is out of order"));
                }
                self.rights.resize_with(first_entitlement.0 as usize, || None);
                self.install(&license, &note, &terms, vendor, first_entitlement, &pools, &actor, removed)?;
                if let Some(installed) = self.licenses.get_mut(&first_entitlement) {
                    installed.problem = problem;
                }
                if let Some(order) = replaced {
                    self.taken_off.put(first_entitlement, order);
                }
                Ok(())
            }
            StateRecord::Entitlement { entitlement, began, ended } => {
                let right = self.right_mut(entitlement).ok_or_else(|| format!("no {entitlement:?}"))?;
                right.began = began;
                right.ended = ended;
                if right.in_force() {
                    let (pool, seats) = (right.pool, right.seats);
                    self.pool_mut(pool).ok_or_else(|| format!("no {pool:?}"))?.total += seats;
                }
                Ok(())
            }
            StateRecord::Lease {
                lease,
                attempt,
                content,
                holder,
                items,
                granted_at,
                granted_wall_ms,
                granted_epoch,
                granted_index,
                ttl_ms,
                linger_ms,
                asked_ttl_ms,
                claim_due,
                heard,
                unheard_deadline,
                ending,
                not_before,
                adopted,
                embeds,
                network,
            } => {
                let at_most = |epoch: Epoch| u32::try_from(epoch.0).map_err(|_| format!("{lease} is of epoch {}", epoch.0));
                let deadline = match (ending, claim_due) {
                    (Some((due, _)), _) | (None, Some(due)) => due,
                    (None, None) if heard == self.epoch => self.head.at.after_ms(ttl_ms).max(not_before.unwrap_or_default()),
                    (None, None) => unheard_deadline,
                };
                let wish = self.wish(&items, ttl_ms, linger_ms, asked_ttl_ms, &embeds);
                if let Some(not_before) = not_before {
                    self.floors.insert(lease, not_before);
                }
                self.note_adopted(lease, &adopted);
                let lease = Lease {
                    id: lease,
                    content,
                    holder: self.holders.intern(&holder, network),
                    charged_to: SPREAD,
                    wish,
                    granted_at,
                    granted_wall_ms,
                    granted_index: granted_index.0,
                    deadline,
                    counter: 0,
                    nonce: 0,
                    granted_epoch: at_most(granted_epoch)?,
                    heard: at_most(heard)?,
                    attempt,
                    bucket: 0,
                    ending: ending.map(|(_, reason)| reason),
                    phase: if claim_due.is_some() { Phase::Claimable } else { Phase::Live },
                    regrant: false,
                };
                self.load_lease(&items, lease)
            }
            StateRecord::Lingering { lease, items, until, embeds } => {
                let wish = self.wish(&items, 0, 0, None, &embeds);
                let lease = Lease {
                    id: lease,
                    content: ContentDigest([0; 16]),
                    holder: self.holders.intern(&Holder::default(), None),
                    charged_to: SPREAD,
                    wish,
                    granted_at: Timestamp(0),
                    granted_wall_ms: 0,
                    granted_index: 0,
                    deadline: until,
                    counter: 0,
                    nonce: 0,
                    granted_epoch: 0,
                    heard: 0,
                    attempt: 0,
                    bucket: 0,
                    ending: None,
                    phase: Phase::Lingering,
                    regrant: false,
                };
                self.load_lease(&items, lease)
            }
            StateRecord::Waiter {
                lease,
                attempt,
                content,
                holder,
                items,
                ttl_ms,
                linger_ms,
                gives_up,
                order: _,
                heard,
                unheard_due,
                embeds,
                network,
            } => {
                let items = items.iter().map(|item| crate::store::WishItem { pool: item.pool, version: item.version, seats: item.seats });
                let due = if heard == self.epoch { gives_up.min(self.now.at.after_ms(self.wait_ttl_ms)) } else { unheard_due };
                let heard = u32::try_from(heard.0).map_err(|_| format!("{lease} asked in epoch {}", heard.0))?;
                let items = items.collect();
                let embeds = self.wishes.key_sets.intern(&embeds);
                self.add_waiter(Waiter { lease, attempt, content, holder, items, ttl_ms, linger_ms, gives_up, heard, due, embeds, network })
            }
            StateRecord::Remembered { lease, attempt, content, denial, ended, forget, network } => {
                self.remember(lease, Remembered { attempt, content, denial, ended, forget, network });
                Ok(())
            }
            StateRecord::Format { words } => self.raise_format(&words),
            StateRecord::WordsAccepted { lease, words } => {
                self.accepted.insert(lease, words);
                Ok(())
            }
            StateRecord::PresenceOff { networks, until } => {
                self.presence_off.insert(networks, until);
                Ok(())
            }
            StateRecord::FreedEarly { until, leases } => {
                self.freed_early.insert(until, leases);
                Ok(())
            }
        }
    }

    fn load_lease(&mut self, items: &[GrantedItem], lease: Lease) -> Result<(), String> {
        if self.leases.find(&lease.id).is_some() || items.is_empty() {
            return Err(format!("{} is there twice, or holds nothing", lease.id));
        }
        for item in items {
            let sum: u64 = item.charges.iter().map(|charge| u64::from(charge.seats)).sum();
            let there = |charge: &crate::Charge| self.right(charge.entitlement).is_some_and(|right| right.pool == self.resolve(item.pool));
            if sum != u64::from(item.seats) || !item.charges.iter().all(there) {
                return Err(format!("charges of {} do not add up", lease.id));
            }
        }
        let ending = lease.ending.is_some();
        let slot = self.put_lease(items, lease)?;
        if ending {
            self.unstrand(slot);
        }
        Ok(())
    }
}

/// A claim as the normal form has it, for tests and views.
impl From<(&str, bool)> for Claim {
    fn from((value, proved): (&str, bool)) -> Self {
        Self { value: value.to_owned(), proved }
    }
}
