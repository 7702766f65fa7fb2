package server

import (
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

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

// newCounts makes the counters: of each route, and of what has none. A stripe has
// its own memory, and one more line of it.
func newCounts() *counts {
	c := &counts{}
	for i := range c.stripes {
		c.stripes[i] = make([]atomic.Uint64, (len(routes)+1)*len(statuses)+8)
	}
	return c
}

// add counts an answer; rt is nil where there was no route.
// hot: called for every request.
func (c *counts) add(r *fasthttp.RequestCtx, rt *route) {
	at := len(routes)
	if rt != nil {
		at = rt.index
	}
	status := uint(r.Response.StatusCode())
	if status >= uint(len(statusIndex)) {
		status = 0
	}
	c.stripes[r.ConnID()%countStripes][at*len(statuses)+int(statusIndex[status])].Add(1)
}

// total is how many answers there were so far.
func (c *counts) total() (n uint64) {
	for i := range c.stripes {
		for j := range c.stripes[i] {
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

// Connections is how many are open.
func (s *Server) Connections() int { return int(s.http.GetOpenConnectionsCount()) }
