package server

import "sync/atomic"

// Count is how many requests of a route were answered with a status.
type Count struct {
	Method, Route string // of the table; both empty = of no route
	Status        int    // 0 = one that has no counter of its own
	Requests      uint64
}

// statuses are those that are counted one by one.
var statuses = [...]int{0, 200, 204, 302, 303, 304, 400, 401, 403, 404, 405, 408, 409, 413, 415, 429, 431, 500, 503, 507}

// statusIndex finds a status among them.
var statusIndex = func() (index [600]uint8) {
	for i, status := range statuses {
		index[status] = uint8(i)
	}
	return index
}()

// countStripes are the counters of one route: connections spread over them, so
// that cores seldom share one.
const countStripes = 16

// counts are those of one server. Make them with newCounts.
type counts struct{ stripes [countStripes][]atomic.Uint64 }

// shortAt is where a stripe has how many of all were answered the short way.
var shortAt = (len(routes) + 1) * len(statuses)

// newCounts makes the counters: of each route, and of what has none. A stripe has
// its own memory, and one more line of it.
func newCounts() *counts {
	c := &counts{}
	for i := range c.stripes {
		c.stripes[i] = make([]atomic.Uint64, shortAt+1+8)
	}
	return c
}

// add counts an answer; rt is nil where there was no route.
// hot: called for every request.
func (c *counts) add(connection uint64, answered int, rt *route) {
	at := len(routes)
	if rt != nil {
		at = rt.index
	}
	status := uint(answered)
	if status >= uint(len(statusIndex)) {
		status = 0
	}
	c.stripes[connection%countStripes][at*len(statuses)+int(statusIndex[status])].Add(1)
}

// short counts an answer that went the short way, beside add.
//
// hot: called for nearly every update check.
func (c *counts) short(connection uint64) { c.stripes[connection%countStripes][shortAt].Add(1) }

// total is how many answers there were so far.
func (c *counts) total() (n uint64) {
	for i := range c.stripes {
		for j := range shortAt {
			n += c.stripes[i][j].Load()
		}
	}
	return n
}

// Counts returns what was answered so far, without what never was.
func (s *Server) Counts() []Count {
	var all []Count
	for at := range len(routes) + 1 {
		for i, status := range statuses {
			n := Count{Status: status}
			for j := range s.counts.stripes {
				n.Requests += s.counts.stripes[j][at*len(statuses)+i].Load()
			}
			if n.Requests == 0 {
				continue
			}
			if at < len(routes) {
				n.Method, n.Route = routes[at].method, routes[at].path
			}
			all = append(all, n)
		}
	}
	return all
}

// Short is how many of them went the short way: update checks that were answered before
// fasthttp read them.
func (s *Server) Short() (n uint64) {
	for i := range s.counts.stripes {
		n += s.counts.stripes[i][shortAt].Load()
	}
	return n
}

// Connections is how many are open.
func (s *Server) Connections() int { return int(s.http.GetOpenConnectionsCount()) }
