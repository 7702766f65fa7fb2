package main

import (
	"slices"
	"testing"
)

func TestAnAccountIsPrintedWithItsDevices(t *testing.T) {
	a := account{
		Account: "alice@example.com", Name: "Alice", Grants: []string{"role:tester", "sub:plus"}, Items: 2, History: []string{"1000001", "1000002"},
		Devices: []device{{"fa01", []string{"1000001", "1000002"}}, {"fa02", []string{"1000002"}}},
	}
	want := []string{
		cells("name", "Alice"), cells("territory", ""), cells("grants", "role:tester sub:plus"), cells("apps", "2"), cells("", "1000001 1000002"),
		cells("device", "fa01  1000001 1000002"), cells("device", "fa02  1000002"),
	}
	if got := a.rows(); !slices.Equal(got, want) {
		t.Errorf("rows = %q, want %q", got, want)
	}
}
