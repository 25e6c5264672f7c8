//! The examples of each verb, and the shape of its JSON: what stands at the end of its help.

/// Of slotctl itself.
pub(crate) const EXAMPLES: &str = "\
Examples:
  slotctl status                          which slot takes the requests
  slotctl flip app green --reason 'v4.2'  the next request goes to green
  slotctl flip --check                    to the other slot, if it takes connections
  slotctl drain                           waits until nobody is in the slot that was left
  slotctl doctor                          is anything broken, and what is the way out?";

/// Of `flip`.
pub(crate) const FLIP_HELP: &str = "\
On return the next request in every process of Apache goes to SLOT, and that is on the disk. To flip
to the active slot is done already, and no error. If SLOT takes no connections, flip warns and flips
all the same; with --check it changes nothing and exits with 3. Slots whose address is - or
balancer:// are not asked.

With --wait it then waits until no request is left in the slot that was active; where SLOT was
active already, until none is in any other. It exits with 4 when that was not so in time, or cannot
be said; the flip holds. Where it can be said at the start already that nobody counts, nothing is
changed.

--if-active and --if-generation change nothing, and exit with 5, unless it is as they say. Where SLOT
is given and active already, --if-active does not matter: so a flip of which no answer came can be
repeated. --if-generation always does.

Examples:
  slotctl flip                            one group, two slots: to the other one
  slotctl flip app                        two slots: to the other one
  slotctl flip green                      one group: to its slot green
  slotctl flip app green --reason 'v4.2'  for the history
  slotctl flip --wait && stop-the-old-one
  slotctl flip app green --if-active blue --drain-timeout 5m

JSON: {\"app\", \"from\", \"to\", \"changed\", \"generation\", \"started\", \"drained\": {\"slots\": [],
\"in_flight\", \"took_ms\", \"done\"}, \"warnings\": []}; drained is null without --wait";

/// Of `status`.
pub(crate) const STATUS_HELP: &str = "\
What this user may not read is shown as -. Requests are counted since the counts were made, which is
the boot as a rule.

Examples:
  slotctl status
  slotctl status app --requests           what is in flight, the oldest first
  slotctl status app --json | jq '.groups[].slots[] | select(.active)'

JSON: {\"groups\": [{\"app\", \"active\", \"generation\", \"since\", \"by\", \"reason\", \"started\", \"running\",
\"pid\", \"default\", \"operator\", \"slots\": [{\"name\", \"active\", \"address\", \"docroot\", \"in_flight\",
\"requests\", \"classes\", \"micros\"}], \"locked\": {\"uid\", \"user\", \"sudo_user\", \"reason\", \"since\",
\"until\"}, \"in_flight\": {\"listed\": [{\"slot\", \"pid\", \"age_ms\", \"method\", \"path\"}], \"unlisted\"},
\"notes\": [], \"warnings\": []}]}; null is what is not known, or is not; in_flight is null without --requests";

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

/// Of `history`.
pub(crate) const HISTORY_HELP: &str = "\
The newest is the last. Text has local times, JSON those of UTC.

Examples:
  slotctl history
  slotctl history app -n 5

JSON: {\"app\", \"entries\": [{\"time\", \"action\", \"from\", \"to\", \"generation\", \"uid\", \"user\",
\"sudo_user\", \"reason\"}], \"warnings\": []}; an entry has user, sudo_user and reason only where there is
something to say";

/// Of `drain`.
pub(crate) const DRAIN_HELP: &str = "\
Whoever killed the backend of SLOT afterwards would hurt nobody: no request is in it, and none can
enter until it is made active again. The active slot cannot be drained: flip first. When the time is
over, slotctl exits with 124. Without --timeout there is no end. DURATION is 30, 30s, 5m, 1h, 500ms.

Examples:
  slotctl drain                           one group, two slots: the one that is not active
  slotctl drain app blue --timeout 5m && systemctl stop blue

JSON: {\"app\", \"slot\", \"in_flight\", \"took_ms\", \"done\", \"warnings\": []}";

/// Of `wait`.
pub(crate) const WAIT_HELP: &str = "\
For scripts beside those that flip: changes nothing, and waits for what others do. Unlike drain,
--for=drained waits for the flip away from SLOT as well. When the time is over, slotctl exits with
124. Without --timeout there is no end. DURATION is 30, 30s, 5m, 1h, 500ms.

Examples:
  slotctl wait app green --for=active --timeout 1h
  slotctl wait app blue --for=drained && systemctl stop blue

JSON: {\"app\", \"slot\", \"for\", \"in_flight\", \"took_ms\", \"done\", \"warnings\": []}; in_flight is null with
--for=active";

/// Of `lock`.
pub(crate) const LOCK_HELP: &str = "\
While the lock holds, nobody else flips APP: they exit with 5, and are told by whom, since when and
why. The same person flips on, and may lock again to renew it. By sudo, SUDO_USER is the person. What
Apache itself does at its start is not barred. DURATION is 30, 30s, 5m, 1h.

Examples:
  slotctl lock app --reason 'migrating the database' --for 2h
  slotctl unlock app

JSON: {\"app\", \"changed\", \"locked\": {\"uid\", \"user\", \"sudo_user\", \"reason\", \"since\", \"until\"},
\"warnings\": []}";

/// Of `unlock`.
pub(crate) const UNLOCK_HELP: &str = "\
One's own lock needs no --force; another's is for root alone to take, with --force. Where there is
none, it is done already.

Examples:
  slotctl unlock app
  sudo slotctl unlock app --force

JSON: {\"app\", \"changed\", \"locked\": null, \"warnings\": []}";
/// Of `doctor`.
pub(crate) const DOCTOR_HELP: &str = "\
Each finding is an error, a warning or a note. The exit code is 1 while there are errors. --repair
sets owners and modes, ends a torn last line of a history, takes away files that were never finished
and locks that ended or cannot be read; where Apache is known not to run, it keeps a damaged record
aside, so that the next start makes a new one. It follows no link, and never writes to a record.

Examples:
  slotctl doctor
  sudo slotctl doctor app --repair
  slotctl doctor --json | jq -r '.findings[] | select(.severity == \"error\") | .what'

JSON: {\"findings\": [{\"app\", \"severity\", \"file\", \"what\", \"way_out\", \"repaired\"}]}; app is null for
what is of all groups";
