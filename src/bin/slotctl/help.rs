//! The examples of each verb, and the shape of its JSON: what stands at the end of its help.

/// Of slotctl itself.
pub(crate) const EXAMPLES: &str = "\
Examples:
  slotctl status                          which slot takes the requests
  slotctl idle                            which slot to prepare
  slotctl flip app green --reason 'v4.2'  the next request goes to green
  slotctl flip --check                    to the other slot, if it takes connections
  slotctl drain                           wait until no request is in the slot that is not active
  slotctl doctor                          is anything broken, and what is the way out?";

/// Of `flip`.
pub(crate) const FLIP_HELP: &str = "\
When flip returns, the next request in every process of Apache goes to SLOT, and the change is
on the disk. If SLOT is active already, flip changes nothing and exits with 0. If SLOT takes no
connections, flip prints a warning and flips; with --check it changes nothing and exits with 3.
Slots whose address is - or balancer:// are not checked.

With --wait, flip then waits until no request is left in the slot that was active before; if
SLOT was active already, until no request is in any other slot. If requests are left when the
time is over, or if counting fails meanwhile, it exits with 4, and the flip holds. If Apache does
not count requests at all, it changes nothing. DURATION is 30, 30s, 5m, 5min, 1h, 500ms.

--if-active and --if-generation change nothing and exit with 5 if they do not match. --if-active
is ignored if SLOT is given and active already, so that a flip can be repeated after a lost
connection; --if-generation is never ignored.

Examples:
  slotctl flip                            one group, two slots: to the other one
  slotctl flip app                        two slots: to the other one
  slotctl flip green                      one group: to its slot green
  slotctl flip app green --reason 'v4.2'  for the history
  slotctl flip --wait && stop-the-old-one
  slotctl flip app green --if-active blue --timeout 5m

JSON: {\"app\", \"from\", \"to\", \"changed\", \"generation\", \"started\", \"drained\": {\"slots\": [],
\"in_flight\", \"took_ms\", \"done\"}, \"warnings\": []}; drained is null without --wait";

/// Of `status`.
pub(crate) const STATUS_HELP: &str = "\
Status prints - for what you may not read. REQUESTS, 4XX and 5XX count from the time when the
counts were made, usually the boot. SINCE FLIP counts from the last change of the active slot;
it is - before the first flip, if you may not read the history, or if the counts were made anew
since the flip.

Examples:
  slotctl status
  slotctl status app --requests           what is in flight, the oldest first
  slotctl status app --json | jq '.groups[].slots[] | select(.active)'

JSON: {\"groups\": [{\"app\", \"active\", \"generation\", \"since\", \"by\", \"reason\", \"started\", \"running\",
\"pid\", \"default\", \"operator\", \"slots\": [{\"name\", \"active\", \"address\", \"docroot\", \"in_flight\",
\"requests\", \"classes\", \"micros\", \"since_flip\": {\"requests\", \"5xx\"}}], \"locked\": {\"uid\", \"user\",
\"sudo_user\", \"reason\", \"since\", \"until\"}, \"in_flight\": {\"listed\": [{\"slot\", \"pid\", \"age_ms\",
\"method\", \"path\"}], \"unlisted\"}, \"notes\": [], \"warnings\": []}]}; null means none, or not known; in_flight is null
without --requests";

/// Of `list`.
pub(crate) const LIST_HELP: &str = "\
One line a group, its active slot marked by *.

Examples:
  slotctl list

JSON: {\"groups\": [{\"app\", \"active\", \"slots\": [], \"warnings\": []}]}";

/// Of `active`.
pub(crate) const ACTIVE_HELP: &str = "\
Examples:
  test \"$(slotctl active app)\" = green
  deploy --to \"$(slotctl active app)\"

JSON: {\"app\", \"active\", \"generation\", \"warnings\": []}; generation is null where Apache reads no record";

/// Of `idle`.
pub(crate) const IDLE_HELP: &str = "\
The idle slot is the one that is not active. If there are several, name one of them yourself:
idle lists them in its error and exits with 2, or prints them with --all, one per line. address
and docroot are null while Apache has not been started since the boot.

Examples:
  slotctl idle app
  rsync -a release/ \"$(slotctl idle app --json | jq -r .docroot)/\"
  slotctl flip app \"$(slotctl idle app)\" --check

JSON: {\"app\", \"slot\", \"address\", \"docroot\", \"generation\", \"warnings\": []}; with --all {\"app\",
\"generation\", \"slots\": [{\"slot\", \"address\", \"docroot\"}], \"warnings\": []}; generation is null where
Apache reads no record";

/// Of `history`.
pub(crate) const HISTORY_HELP: &str = "\
The newest change is the last. Text has local times, JSON has UTC.

Examples:
  slotctl history
  slotctl history app -n 5

JSON: {\"app\", \"entries\": [{\"time\", \"action\", \"from\", \"to\", \"generation\", \"uid\", \"user\",
\"sudo_user\", \"reason\", \"counted\": {\"segment\", \"slots\": {\"NAME\": {\"requests\", \"5xx\"}}}}], \"warnings\": []}; the
last four only if they are known; counted is what each slot had counted when the change was
recorded";

/// Of `drain`.
pub(crate) const DRAIN_HELP: &str = "\
When drain exits with 0, no request is in SLOT, and none can enter until it is made active
again: its backend can be stopped. The active slot cannot be drained: flip first. If requests
are left when the time is over, drain exits with 124. Without --timeout it waits as long as it
takes. DURATION is 30, 30s, 5m, 5min, 1h, 500ms.

Examples:
  slotctl drain                           one group, two slots: the one that is not active
  slotctl drain app blue --timeout 5m && systemctl stop blue

JSON: {\"app\", \"slot\", \"in_flight\", \"took_ms\", \"done\", \"warnings\": []}";

/// Of `wait`.
pub(crate) const WAIT_HELP: &str = "\
For scripts beside those that flip: wait changes nothing, and waits for what others do. Unlike
drain, --for=drained waits for the flip away from SLOT as well. When the time is over, wait
exits with 124. Without --timeout it waits as long as it takes. DURATION is 30, 30s, 5m, 5min,
1h, 500ms.

Examples:
  slotctl wait app green --for=active --timeout 1h
  slotctl wait app blue --for=drained && systemctl stop blue

JSON: {\"app\", \"slot\", \"for\", \"in_flight\", \"took_ms\", \"done\", \"warnings\": []}; in_flight is null with
--for=active";

/// Of `lock`.
pub(crate) const LOCK_HELP: &str = "\
While the lock holds, only you can flip APP. Other people's flips exit with 5, and say who
locked it, since when and why. To renew the lock, lock again. With sudo, SUDO_USER is the
person. A lock does not stop what Apache itself does at its start. DURATION is 30, 30s, 5m,
5min, 1h.

Examples:
  slotctl lock app --reason 'migrating the database' --for 2h
  slotctl unlock app

JSON: {\"app\", \"changed\", \"locked\": {\"uid\", \"user\", \"sudo_user\", \"reason\", \"since\", \"until\"},
\"warnings\": []}";

/// Of `unlock`.
pub(crate) const UNLOCK_HELP: &str = "\
Your own lock needs no --force. Only root can end the lock of another person, with --force. If
there is no lock, unlock changes nothing and exits with 0.

Examples:
  slotctl unlock app
  sudo slotctl unlock app --force

JSON: {\"app\", \"changed\", \"locked\": null, \"warnings\": []}";

/// Of `doctor`.
pub(crate) const DOCTOR_HELP: &str = "\
Each finding is an error, a warning or a note. The exit code is 1 while there are errors. Doctor
examines the files of mod_slot, and whether Apache's user can search the docroot of each slot;
only root can examine everything.

--repair sets owners and modes, ends a torn last line of a history, and removes files that were
never finished and locks that ended or cannot be read. If Apache is known not to run, it keeps a
damaged record aside, so that the next start makes a new one. It follows no link, and never
writes to a record.

Examples:
  slotctl doctor
  sudo slotctl doctor app --repair
  slotctl doctor --json | jq -r '.findings[] | select(.severity == \"error\") | .what'

JSON: {\"findings\": [{\"app\", \"severity\", \"file\", \"what\", \"way_out\", \"repaired\"}]}; app is null
for what is of all groups";
