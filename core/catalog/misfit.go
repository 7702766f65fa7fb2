package catalog

import (
	"fmt"
	"strconv"
)

// NoUpdate says why a version of the entry is not among AppendUpdates, "" if it
// is: in the words of an operator who asks why.
func (e *Entry) NoUpdate(r *Release, installed uint64, p Platform, os uint32) string {
	switch why := e.misfit(r, p, os); {
	case why != "":
		return why
	case installed == 0:
		return "the app is not installed, so there is nothing to update"
	case r.ID == installed:
		return "is installed"
	case r.ID < installed:
		return fmt.Sprintf("is not newer than the installed %d", installed)
	case r.Halted:
		return "its rollout is halted"
	}
	return ""
}

// NoRestore says why a version of the entry is not among AppendRestores, "" if it
// is.
func (e *Entry) NoRestore(r *Release, requested uint64, p Platform, os uint32) string {
	why := e.misfit(r, p, os)
	if why == "" && r.Halted && r.ID != requested {
		return "its rollout is halted, and it was not asked for"
	}
	return why
}

func (e *Entry) misfit(r *Release, p Platform, os uint32) string {
	least, made := r.MinOS(p)
	switch {
	case e.Removed:
		return "the app was taken down: " + e.Reason
	case r.Withdrawn:
		return "was withdrawn"
	case p != IOS && p != IPadOS:
		return "there are no versions for this platform"
	case !made:
		return "is not made for " + p.String()
	case least > os:
		return fmt.Sprintf("needs %s %s, the device has %s", p, FormatOS(least), FormatOS(os))
	}
	return ""
}

// FormatOS writes a system's version as ParseOS reads it.
func FormatOS(os uint32) string {
	if os == AnyOS {
		return "any"
	}
	s := strconv.FormatUint(uint64(os>>16), 10) + "." + strconv.FormatUint(uint64(os>>8&0xff), 10)
	if patch := os & 0xff; patch != 0 {
		s += "." + strconv.FormatUint(uint64(patch), 10)
	}
	return s
}
