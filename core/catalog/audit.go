package catalog

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/souk-market/souk/core/store/audit"
)

// maxChanges is how many changes of one item an entry names.
const maxChanges = 32

// entryOf says what becomes of an item, for the audit log. A nil before is an item that
// was never there.
func entryOf(id uint64, before, after *record) audit.Entry {
	e := audit.Entry{Kind: audit.ItemChanged, Item: id}
	switch {
	case after.absent():
		e.Kind = audit.ItemRemoved
		return e
	case before == nil || before.absent():
		e.Detail = map[string]string{"change": fmt.Sprintf("added with %d versions", len(after.Item.Versions))}
		return e
	}
	changes := itemChanges(Item(before.Item), Item(after.Item))
	if more := len(changes) - maxChanges; more > 0 {
		changes = append(changes[:maxChanges], fmt.Sprintf("%d more", more))
	}
	e.Detail = map[string]string{"change": strings.Join(changes, "; ")}
	if after.Item.Reason != before.Item.Reason && after.Item.Reason != "" {
		e.Detail["reason"] = after.Item.Reason
	}
	return e
}

// itemChanges names what differs, what matters most first.
func itemChanges(before, after Item) (changes []string) {
	switch {
	case after.Removed && !before.Removed:
		changes = append(changes, "taken down")
	case before.Removed && !after.Removed:
		changes = append(changes, "reinstated")
	}
	was := make(map[uint64]Version, len(before.Versions))
	for _, v := range before.Versions {
		was[v.ID] = v
	}
	for _, v := range after.Versions {
		old, there := was[v.ID]
		delete(was, v.ID)
		if !there {
			changes = append(changes, fmt.Sprintf("version %d added, open to %d of %d", v.ID, v.Rollout.Share, FullShare))
			continue
		}
		changes = append(changes, versionChanges(old, v)...)
	}
	for _, v := range before.Versions {
		if _, gone := was[v.ID]; gone {
			changes = append(changes, fmt.Sprintf("version %d removed", v.ID))
		}
	}
	before.Versions, before.Removed, before.Reason = after.Versions, after.Removed, after.Reason
	if len(changes) == 0 || !reflect.DeepEqual(before, after) {
		changes = append(changes, "its own fields changed")
	}
	return changes
}

func versionChanges(before, after Version) (changes []string) {
	say := func(format string, args ...any) {
		changes = append(changes, fmt.Sprintf("version %d ", after.ID)+fmt.Sprintf(format, args...))
	}
	switch {
	case after.Withdrawn && !before.Withdrawn:
		say("withdrawn")
	case before.Withdrawn && !after.Withdrawn:
		say("brought back")
	}
	from, to := before.Rollout, after.Rollout
	if from.Share != to.Share {
		say("opened to %d of %d, it was %d", to.Share, FullShare, from.Share)
	}
	switch {
	case to.Halted && !from.Halted:
		say("halted")
	case from.Halted && !to.Halted:
		say("goes on")
	}
	if from.Salt != to.Salt {
		say("has another salt")
	}
	before.Withdrawn, before.Rollout = after.Withdrawn, after.Rollout
	if !reflect.DeepEqual(before, after) {
		say("changed")
	}
	return changes
}
