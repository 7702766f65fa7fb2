//! Chooses versions while they are rolled out in steps. A device falls into one of
//! 10 000 buckets for each rollout, by a hash of who it is and of the rollout's
//! salt, and gets the version when its bucket is below the share that is open. So
//! a device that has a version keeps being offered it while the share grows, the
//! first tenth of one rollout is not the first tenth of the next, and nothing needs
//! to be stored.
//!
//! It refuses to know schedules: when a share grows and when a rollout is halted
//! is the core's, and arrives as numbers and flags of the candidates.

use souk::abi::{
    Candidate, CandidateFlags, Choice, Head, Purpose, SelectVersionAnswers, SelectVersionApp, SelectVersionRequest, VersionChoice,
    BUCKETS,
};
use souk::value::{self, Kind, Malformed, Value};
use souk::Line;

/// The codes of the choices. The first ones say why a version is offered.
pub mod code {
    pub const OPEN: u32 = 1; // open to everyone
    pub const BUCKET: u32 = 2; // open to the device's bucket
    pub const CRITICAL: u32 = 3; // critical, and such versions are not phased
    pub const REQUESTED: u32 = 4; // restore: the version that the device asks for
    pub const NEWEST: u32 = 5; // restore: nothing is open to the device, so the newest that it can use
    pub const LAST: u32 = 6; // restore: none is as it should be, so the newest

    // The others say why none is offered: the reason of the candidate that came
    // closest to an offer has the highest number.
    pub const NONE: u32 = 20; // there is no candidate
    pub const OLD: u32 = 21; // not newer than the installed version
    pub const CHANNEL: u32 = 22; // of a channel that the account doesn't follow
    pub const SYSTEM: u32 = 23; // for a newer system
    pub const HALTED: u32 = 24; // its rollout was halted
    pub const ANONYMOUS: u32 = 25; // partly open, and there is nothing to compute a bucket from
    pub const HELD: u32 = 26; // partly open, and not to the device's bucket, or to nobody yet
}

/// The policy, which is its configuration.
#[derive(Clone, Copy)]
pub struct Rollout {
    hold_all: bool,        // while the newest version is held, offer no older one instead
    critical_always: bool, // versions marked as critical are open to everyone from the start
}

/// What the policy thinks of one candidate.
#[derive(Clone, Copy)]
struct Finding {
    code: u32,
    bucket: u32,
    share: u32, // that was looked at with the bucket, else 0
}

impl Finding {
    fn of(code: u32) -> Self {
        Finding { code, bucket: 0, share: 0 }
    }

    fn open(self) -> bool {
        self.code < code::NONE
    }

    fn explain(self, line: &mut Line) {
        line.text(match self.code {
            code::OPEN => "open",
            code::HELD if self.share == 0 => "open to nobody",
            code::BUCKET | code::HELD => "bucket ",
            code::CRITICAL => "critical",
            code::REQUESTED => "requested",
            code::NEWEST => "newest",
            code::LAST => "last resort",
            code::NONE => "no candidate",
            code::OLD => "not newer",
            code::CHANNEL => "channel",
            code::SYSTEM => "min os",
            code::HALTED => "halted",
            _ => "no bucket key",
        });
        if self.share > 0 {
            let than = if self.code == code::HELD { " is not below " } else { " is below " };
            line.number(self.bucket.into()).text(than).number(self.share.into());
        }
    }
}

impl Rollout {
    pub const fn new() -> Self {
        Rollout { hold_all: false, critical_always: false }
    }

    /// Reads the plugin's configuration, or writes what is wrong with it and leaves
    /// the policy as it was.
    pub fn configure(&mut self, json: &str, wrong: &mut Line) -> bool {
        let table = match value::parse(json) {
            Ok(table) => table,
            Err(Malformed(at)) => {
                wrong.text("byte ").number(at as i64).text(" of the JSON text: want a value");
                return false;
            }
        };
        if table.kind() != Kind::Table {
            wrong.text("want a table");
            return false;
        }
        let mut read = Rollout::new();
        for (key, value) in table.entries() {
            let known = if key.is("while_held") {
                second(value, "while_held", "previous", "nothing", wrong).map(|is| read.hold_all = is)
            } else if key.is("critical") {
                second(value, "critical", "phased", "always", wrong).map(|is| read.critical_always = is)
            } else {
                wrong.text(key.spelling().trim_matches('"')).text(": there is no such key");
                None
            };
            if known.is_none() {
                return false;
            }
        }
        *self = read;
        true
    }

    /// Chooses for each app of a request.
    pub fn select_version(&self, r: &SelectVersionRequest, out: &mut SelectVersionAnswers) {
        for app in r.apps {
            let (choice, found, newer) =
                if r.head.purpose == Purpose::UPDATE { self.update(&r.head, &app) } else { self.restore(&r.head, &app) };
            let mut reason = Line::new();
            found.explain(&mut reason);
            if newer.code >= code::HALTED {
                newer.explain(reason.text("; newer: "));
            }
            out.push(&VersionChoice { choice, code: found.code, reason: reason.as_str() });
        }
    }

    /// Offers the newest version that is open to the device, and says why, and why
    /// a newer version that would have been the device's turn is not it.
    fn update(&self, who: &Head, app: &SelectVersionApp) -> (Choice, Finding, Finding) {
        let mut closest = Finding::of(code::NONE);
        for (i, c) in app.candidates.iter().enumerate() {
            let f = if c.version > app.installed { self.judge(who, app, &c) } else { Finding::of(code::OLD) };
            if f.open() {
                return (Choice(i as i32), f, closest);
            }
            if f.code > closest.code {
                closest = f;
            }
            if self.hold_all && f.code >= code::ANONYMOUS {
                break; // its turn will come
            }
        }
        (Choice::HOLD, closest, Finding::of(0))
    }

    /// Gives the version that somebody asks for: a device that had it before, halted
    /// or not, or the marketplace app for a person who wants it. A device without its
    /// app is worse off than one with a version that is not open to it yet, so
    /// something is chosen as long as there is a candidate.
    fn restore(&self, who: &Head, app: &SelectVersionApp) -> (Choice, Finding, Finding) {
        let (mut requested, mut open, mut newest) = (None, None, None);
        for (i, c) in app.candidates.iter().enumerate() {
            if c.flags.has(CandidateFlags::REQUESTED) && !too_new(who, &c) {
                requested = Some((i, Finding::of(code::REQUESTED)));
            }
            let f = self.judge(who, app, &c);
            if f.open() {
                open = open.or(Some((i, f)));
            } else if f.code >= code::ANONYMOUS {
                newest = newest.or(Some((i, Finding::of(code::NEWEST))));
            }
        }
        let last = if app.candidates.is_empty() { None } else { Some((0, Finding::of(code::LAST))) };
        match requested.or(open).or(newest).or(last) {
            Some((i, f)) => (Choice(i as i32), f, Finding::of(0)),
            None => (Choice::HOLD, Finding::of(code::NONE), Finding::of(0)),
        }
    }

    /// Says whether a candidate is open to the device, and why (not).
    fn judge(&self, who: &Head, app: &SelectVersionApp, c: &Candidate) -> Finding {
        Finding::of(if !c.channel.is_empty() && c.channel != app.channel {
            code::CHANNEL
        } else if too_new(who, c) {
            code::SYSTEM
        } else if c.flags.has(CandidateFlags::HALTED) {
            code::HALTED
        } else if c.rollout >= BUCKETS {
            code::OPEN
        } else if self.critical_always && c.flags.has(CandidateFlags::CRITICAL) {
            code::CRITICAL
        } else if who.bucket_key.is_empty() {
            code::ANONYMOUS
        } else if c.rollout == 0 {
            code::HELD
        } else {
            let (bucket, share) = (souk::bucket(who.bucket_key, c.salt), c.rollout);
            return Finding { code: if bucket < share { code::BUCKET } else { code::HELD }, bucket, share };
        })
    }
}

/// Says whether a candidate needs a newer system than the device has. The core has
/// left such candidates out, so a system that nobody knows is no reason to hold an
/// app.
fn too_new(who: &Head, c: &Candidate) -> bool {
    who.os != 0 && c.min_os > who.os
}

/// Says whether a value is the second of two words, or writes that it is none.
fn second(v: Value, key: &str, first: &str, other: &str, wrong: &mut Line) -> Option<bool> {
    if v.is(first) || v.is(other) {
        return Some(v.is(other));
    }
    wrong.text(key).text(": want ");
    if v.kind() != Kind::Text {
        wrong.text("a text");
        return None;
    }
    wrong.text("\"").text(first).text("\" or \"").text(other).text("\", not ").text(v.spelling());
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk::abi::{self, List, Message, SelectVersionVerdict};

    /// Asks about one app as the host does, through bytes: choice, code and reason.
    fn ask(config: &str, who: Head, installed: u64, candidates: &[Candidate]) -> (i32, u32, String) {
        let (mut rollout, mut wrong) = (Rollout::new(), Line::new());
        assert!(rollout.configure(config, &mut wrong), "{}: {}", config, wrong.as_str());
        let apps = [SelectVersionApp { item: 1, installed, candidates: List::from(candidates), ..Default::default() }];
        let (mut message, mut space) = ([0; 4096], [0; 4096]);
        let n = SelectVersionRequest { head: who, apps: List::from(&apps) }.write(&mut message).unwrap();
        let n = abi::select_version(&message[..n], &mut space, |r, out| {
            rollout.select_version(r, out);
            Ok(())
        });
        let verdict = SelectVersionVerdict::read(&space[..n.unwrap()]).unwrap();
        let item = verdict.items.get(0).unwrap();
        (item.choice.0, item.code, item.reason.to_string())
    }

    #[test]
    fn a_share_is_open_to_the_buckets_below_it() {
        let who = Head { purpose: Purpose::UPDATE, bucket_key: "alice", ..Default::default() };
        let bucket = souk::bucket("alice", "salt");
        let at = |rollout| [Candidate { version: 3, rollout, salt: "salt", ..Default::default() }, Candidate { version: 2, rollout: BUCKETS, ..Default::default() }];
        let held = format!("bucket {} is not below {}", bucket, bucket);
        assert_eq!(ask("{}", who, 1, &at(bucket + 1)), (0, code::BUCKET, format!("bucket {} is below {}", bucket, bucket + 1)));
        assert_eq!(ask("{}", who, 1, &at(bucket)), (1, code::OPEN, format!("open; newer: {}", held)));
        assert_eq!(ask("{\"while_held\":\"nothing\"}", who, 1, &at(bucket)), (-1, code::HELD, held));
        assert_eq!(ask("{}", who, 2, &at(0)), (-1, code::HELD, "open to nobody".to_string()));
        assert_eq!(ask("{}", Head { bucket_key: "", ..who }, 2, &at(9_999)), (-1, code::ANONYMOUS, "no bucket key".to_string()));
    }

    #[test]
    fn a_restore_gives_something() {
        let who = Head { purpose: Purpose::RESTORE, bucket_key: "alice", ..Default::default() };
        let mut candidates = [Candidate { version: 3, ..Default::default() }, Candidate { version: 2, flags: CandidateFlags::REQUESTED, ..Default::default() }];
        assert_eq!(ask("{}", who, 9, &candidates), (1, code::REQUESTED, "requested".to_string()));
        candidates[1].flags = CandidateFlags::HALTED;
        assert_eq!(ask("{}", who, 9, &candidates), (0, code::NEWEST, "newest".to_string()));
        assert_eq!(ask("{}", who, 9, &[]), (-1, code::NONE, "no candidate".to_string()));
    }

    #[test]
    fn a_wrong_configuration_changes_nothing() {
        let (mut rollout, mut wrong) = (Rollout::new(), Line::new());
        assert!(!rollout.configure("{\"critical\":\"always\",\"while_hold\":\"nothing\"}", &mut wrong));
        assert_eq!((wrong.as_str(), rollout.critical_always), ("while_hold: there is no such key", false));
    }
}
