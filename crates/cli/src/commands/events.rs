//! `events`: what has happened, and what happens.

use std::{sync::mpsc, thread, time::Duration};

use serde_json::Value;
use triquest_client::admin::{Events, SseEvent};
use triquest_wire::{Position, event::EventBody};

use crate::{
    admin::{Admin, DataDir, Query},
    failure::{Failure, exit},
    terminal::{Terminal, escape, escape_json},
};

/// The first of the events that are asked for comes within this.
const FIRST_MS_MAX: u64 = 10_000;
/// The rest of the last entry's events comes within this: they are sent together.
const LAST_MS_MAX: u64 = 250;

/// `events`.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsCommand {
    /// Go on with what happens, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Begin after this cursor (LINEAGE.EPOCH.INDEX.NUMBER, as --json shows it under "cursor")
    #[arg(long, value_name = "CURSOR", value_parser = cursor)]
    after: Option<String>,
    /// One JSON object on each line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: DataDir,
}

impl EventsCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let admin = Admin::connect(&self.data)?;
        if self.follow { self.follow(terminal, &admin) } else { self.history(terminal, &admin) }
    }

    /// What happens from now on, or from the cursor on.
    fn follow(&self, terminal: &Terminal, admin: &Admin) -> Result<u8, Failure> {
        let mut cursor = self.after.clone();
        for event in stream(admin, "after", self.after.as_deref())? {
            let event = event.map_err(|cause| broken(&cause))?;
            if self.show(terminal, &event)?.is_none() {
                break;
            }
            cursor = Some(event.id);
        }
        let failure = Failure::new("the server ended the stream: it is stopping, or this reader fell behind").with_code(exit::LATER);
        Err(match cursor {
            Some(cursor) => failure.hint(format_args!("go on where it ended: triquest-lm events --follow --after {}", escape(&cursor))),
            None => failure,
        })
    }

    /// What is kept of what has happened until now.
    fn history(&self, terminal: &Terminal, admin: &Admin) -> Result<u8, Failure> {
        let head = admin.status(None)?.position;
        let at_head = |position: &Position| position.lineage == head.lineage && position.index >= head.index;
        // The entry of the cursor, with or without the number of an event in it.
        let seen = self.after.as_deref().and_then(|after| after.parse().ok().or_else(|| after.rsplit_once('.')?.0.parse().ok()));
        if head.index == 0 {
            return Ok(exit::OK);
        }
        let events = match &self.after {
            Some(after) => stream(admin, "after", Some(after))?,
            None => stream(admin, "from", Some("oldest"))?,
        };
        // The stream itself has no end, so what comes is taken until the head of a moment ago has come.
        let (sender, inbox) = mpsc::channel();
        thread::spawn(move || events.map_while(|event| sender.send(event).ok()).for_each(drop));
        // After a cursor in the last entry there may be nothing, and nothing is what comes then.
        let mut pause = Duration::from_millis(if seen.as_ref().is_some_and(at_head) { LAST_MS_MAX } else { FIRST_MS_MAX });
        loop {
            let event = match inbox.recv_timeout(pause) {
                Ok(event) => event.map_err(|cause| broken(&cause))?,
                Err(_) if pause.as_millis() == u128::from(LAST_MS_MAX) => return Ok(exit::OK),
                Err(_) => return Err(Failure::new("the server sends no events").with_code(exit::LATER)),
            };
            if event.event == "behind" || event.event == "cursor_lost" {
                return Err(Failure::new("this reader fell behind the server")
                    .with_code(exit::LATER)
                    .hint("ask again with `--after` and the last cursor"));
            }
            let body: EventBody = serde_json::from_str(&event.data)?;
            if body.position.index > head.index {
                return Ok(exit::OK);
            }
            self.show(terminal, &event)?;
            if at_head(&body.position) {
                pause = Duration::from_millis(LAST_MS_MAX);
            }
        }
    }

    /// Shows one event; nothing if it says that the stream is over.
    fn show(&self, terminal: &Terminal, event: &SseEvent) -> Result<Option<()>, Failure> {
        if event.event == "behind" || event.event == "cursor_lost" {
            return Ok(None);
        }
        if self.json {
            let mut object: serde_json::Map<String, Value> = serde_json::from_str(&event.data)?;
            object.insert("cursor".to_owned(), Value::String(event.id.clone()));
            terminal.raw(format!("{}\n", escape_json(&Value::Object(object).to_string())).as_bytes());
        } else {
            let body: EventBody = serde_json::from_str(&event.data)?;
            terminal.data(line(&body, &jiff::Zoned::now()));
        }
        Ok(Some(()))
    }
}

/// A cursor is read here too, since the server would speak of the events' `id`, as its protocol does.
fn cursor(text: &str) -> Result<String, String> {
    let entry_of = || text.rsplit_once('.').filter(|(_, number)| number.parse::<u32>().is_ok()).map(|(entry, _)| entry);
    let is_position = |text: &str| text.parse::<Position>().is_ok();
    if is_position(text) || entry_of().is_some_and(is_position) {
        return Ok(text.to_owned());
    }
    Err("needs LINEAGE.EPOCH.INDEX.NUMBER, as `triquest-lm events --json` shows it under \"cursor\"".to_owned())
}

fn stream(admin: &Admin, name: &str, begin: Option<&str>) -> Result<Events, Failure> {
    let mut query = Query::new("/v1/events");
    query.add(name, begin);
    Ok(Events::new(admin.stream(query.text())?))
}

fn broken(cause: &std::io::Error) -> Failure {
    Failure::new(format_args!("the stream of events broke off: {cause}")).with_code(exit::LATER)
}

/// `08:02:11 CET  granted  lease=k3f9... feature=cad`: one line for people.
fn line(event: &EventBody, now: &jiff::Zoned) -> String {
    let time = event.time.parse::<jiff::Timestamp>().map_or_else(
        |_| escape(&event.time).into_owned(),
        |at| {
            let at = at.to_zoned(now.time_zone().clone());
            // A record of what happened names its zone, and its day unless that is today.
            let form = if at.date() == now.date() { "%H:%M:%S %Z" } else { "%Y-%m-%d %H:%M:%S %Z" };
            at.strftime(form).to_string()
        },
    );
    let mut facts = Vec::new();
    for (name, value) in &event.facts {
        flatten(name, value, &mut facts);
    }
    format!("{time}  {:<18} {}", escape(&event.kind), facts.join(" ")).trim_end().to_owned()
}

/// Members as `name=value`, inner ones as `name.inner=value`; a value that could be taken for several is quoted.
fn flatten(name: &str, value: &Value, facts: &mut Vec<String>) {
    match value {
        Value::Null => {}
        // A field of a holder: what it says is enough for a line; whether it was proved stands in --json.
        Value::Object(claim) if claim.contains_key("proved") => flatten(name, claim.get("value").unwrap_or(&Value::Null), facts),
        Value::Object(members) => members.iter().for_each(|(inner, value)| flatten(&format!("{name}.{inner}"), value, facts)),
        Value::Array(items) => items.iter().enumerate().for_each(|(place, value)| {
            let name = if items.len() == 1 { name.to_owned() } else { format!("{name}.{place}") };
            flatten(&name, value, facts);
        }),
        Value::String(text) if text.is_empty() || text.contains([' ', '=', '"']) => {
            facts.push(format!("{}=\"{}\"", escape(name), escape(text).replace('"', "\\\"")));
        }
        Value::String(text) => facts.push(format!("{}={}", escape(name), escape(text))),
        Value::Bool(_) | Value::Number(_) => facts.push(format!("{}={value}", escape(name))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_event_is_one_line_without_control_bytes_whatever_its_holder_is_called() {
        let event = EventBody {
            position: triquest_wire::Position::default(),
            number: 0,
            at_ms: 5,
            time: "2026-11-23T08:02:11Z".into(),
            kind: "granted".into(),
            facts: serde_json::from_str::<serde_json::Map<String, Value>>(r#"{"seats":2,"holder":{"user":{"value":"a\u001b[2Jb\nc","proved":true},"host":"x y=1"},"items":[{"feature":"cad"}],"none":null}"#).unwrap(),
        };
        let now = "2026-11-23T12:00:00Z".parse::<jiff::Timestamp>().unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        let text = line(&event, &now);
        assert!(!text.contains(char::is_control), "{text:?}");
        for part in ["08:02:11 UTC  granted ", "holder.host=\"x y=1\"", "holder.user=a\\u{1b}[2Jb\\nc", "items.feature=cad", "seats=2"] {
            assert!(text.contains(part), "{text}");
        }
        let later = now.checked_add(jiff::Span::new().days(1)).unwrap();
        assert!(line(&event, &later).starts_with("2026-11-23 08:02:11 UTC  granted "), "{}", line(&event, &later));
    }
}
