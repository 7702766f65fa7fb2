package admin_test

import "testing"

func TestAuditLogThatIsNotKept(t *testing.T) {
	newBench(t).refused(404, "GET", "/api/audit", "", "keeps no audit log")
}
