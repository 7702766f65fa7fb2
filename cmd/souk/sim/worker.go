package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/token"
)

// worker is a connection, and whatever device stands behind it for a moment.
type worker struct {
	r        *run
	line     line
	free     time.Duration // since when it waits for nobody else
	started  bool          // the job has sent its first request
	device   population.Device
	apps     []population.Installed // that it asks for
	token    []byte
	expires  time.Time // when a minted one does
	body     []byte
	out      []byte
	response fasthttp.Response
	excused  bool // the answer was, already
	got      answer
	once     answer // the first of two that have to be the same
}

// reply is when an answer came, and its status.
type reply struct {
	status         int
	sent, answered time.Duration
}

func newWorker(r *run) *worker {
	return &worker{r: r, line: line{address: r.host, tls: r.tls, fresh: r.c.TLS}}
}

// run serves jobs until there are no more.
func (w *worker) run() {
	defer w.line.close()
	for j := range w.r.pacer.jobs {
		w.started = false
		if serve := w.r.scenario.serve; serve != nil {
			serve(w, j)
		} else {
			w.request(j)
		}
		if !w.started {
			w.r.tally.nothing()
		}
		w.line.over()
	}
}

// waited notes that the worker has waited for somebody else since a time, with a
// request that is due.
func (w *worker) waited(due, since time.Duration) {
	w.free = max(due, w.free) + w.r.clock.since() - since
}

// exchange sends what is in w.out, which was due at a time, and counts what comes of
// it. The class is that of a good answer.
func (w *worker) exchange(due time.Duration, class func(status int) string) (reply, bool) {
	r := w.r
	rp := reply{sent: r.clock.since()}
	if w.started {
		r.tally.again()
	} else {
		// A request that waited for a connection has waited for the server; one that a free
		// connection took too late was the generator's fault.
		r.tally.request(rp.sent - max(due, w.free))
		w.started = true
	}
	w.excused = false
	err := w.line.ask(w.out, &w.response)
	rp.answered = r.clock.since()
	w.free = rp.answered // what it does with the answer is the generator's own time
	if err != nil {
		r.tally.answer(classNothing, 0)
		if !r.down.during(due, rp.answered) {
			r.checks.answered.hold(false, func() string { return fmt.Sprintf("device %d got no answer: %v", w.device.Index, err) })
		}
		return rp, false
	}
	rp.status = w.response.StatusCode()
	shed := rp.status == 503 && len(w.response.Header.Peek("Retry-After")) > 0
	if shed {
		r.tally.answer(classShed, rp.answered-due)
		r.checks.answered.hold(true, nil)
		return rp, false
	}
	r.tally.answer(class(rp.status), rp.answered-due)
	r.checks.answered.hold(rp.status < 500, func() string {
		return fmt.Sprintf("device %d was answered %d: %.200s", w.device.Index, rp.status, w.response.Body())
	})
	return rp, rp.status < 500
}

// become makes the worker a device as it is at a time.
func (w *worker) become(j *job) {
	w.r.people.Device(&w.device, j.device, time.Unix(0, j.at))
	if w.r.release != nil {
		w.r.release.installed(&w.device)
	}
	w.apps = append(w.apps[:0], w.device.Apps...)
}

// mint makes an access token as the server has made it when the device signed in or
// refreshed last: issued so long ago, good for so long.
func (w *worker) mint(age, life time.Duration) {
	now := w.r.clock.Now()
	w.expires = now.Add(life - age)
	w.token = w.r.ring.AppendAccess(w.token[:0], &token.Access{
		Audience: oauth.AudienceMarket, IssuedAt: token.Seconds(now.Add(-age)), Expires: token.Seconds(w.expires),
		Subject: store.SubjectID(w.device.Account), Family: w.family(), Client: token.ClientID(w.device.ClientID),
	})
}

// family stands for the id that the server has drawn when it signed the device in. No
// check looks a family up, so that any will do, and none needs to be remembered.
func (w *worker) family() [16]byte {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], w.r.c.Seed)
	binary.BigEndian.PutUint64(b[8:], w.device.Index)
	sum := sha256.Sum256(b[:])
	return [16]byte(sum[:16])
}

// The life of a device's access token, and how old one is when it is used: a device
// has it renewed when it is refused, at any time of its life that is.
const accessLife = 72 * time.Hour

// authorize gets the token that the device has.
func (w *worker) authorize(j *job) bool {
	if w.r.ring == nil {
		return w.enter(j.due)
	}
	w.mint(time.Duration(w.device.Index%24)*time.Hour, accessLife)
	return true
}

// request is what the population's devices do.
func (w *worker) request(j job) {
	w.become(&j)
	if len(w.apps) == 0 {
		return
	}
	switch j.kind {
	case population.NoToken:
		w.tokenless(&j)
	case population.Expired:
		w.expired(&j)
	case population.Malformed, population.Oversized:
		if w.authorize(&j) {
			w.wrong(&j)
		}
	default:
		if j.kind == population.Tap {
			a := population.Arrival{At: time.Unix(0, j.at).UTC(), Device: j.device, Kind: j.kind}
			w.apps[0] = w.apps[a.TapOf(len(w.apps))]
			w.apps = w.apps[:1]
		}
		if j.kind == population.UnknownApp {
			w.apps = append(w.apps, population.Installed{App: -1, Item: unknownItem + j.device%1000, Version: 1})
		}
		if w.authorize(&j) {
			w.check(&j)
		}
	}
}

// unknownItem and those after it are of no market.
const unknownItem = 9_999_999_000

// post puts a request for the apps together.
func (w *worker) post(path string, token []byte) {
	w.body = appendApps(w.body[:0], &w.device, w.apps)
	w.out = appendPost(w.out[:0], w.r.host, path, jsonType, token, w.body)
}

// check is an update check whose answer is looked at.
func (w *worker) check(j *job) {
	w.post(pathUpdates, w.token)
	rp, ok := w.exchange(j.due, w.updates)
	if !ok {
		w.retry(j)
		return
	}
	if rp.status == 403 && !w.r.clock.at(rp.answered).Before(w.expires) {
		return // at a high speed the days that it had left are over in no time
	}
	w.r.checks.codes.hold(rp.status == 200, w.unexpected(rp.status, 200))
	if rp.status != 200 {
		return
	}
	w.judge(j, rp)
	if w.sampled(j, whatSticky, w.r.stickyEvery()) {
		w.askAgain(j, rp)
	}
}

// updates is the class of an answer to an update check. It reads the answer, so that
// the class can be told.
func (w *worker) updates(status int) string {
	if status != 200 {
		return w.refused(status)
	}
	if err := w.got.parse(w.response.Body(), listUpdates); err != nil {
		w.r.checks.codes.hold(false, func() string { return fmt.Sprintf("device %d: %v", w.device.Index, err) })
		return classWrong
	}
	switch len(w.got.offers) {
	case 0:
		return classNone
	case 1:
		return classOne
	}
	return classMany
}

func (w *worker) refused(status int) string {
	switch status {
	case 400:
		return class400
	case 401:
		return class401
	case 403:
		return class403
	case 413:
		return class413
	}
	return classWrong
}

// emptyList is what an update check gets that is turned away unread.
const emptyList = `{"updates":[]}`

// empty says whether an answer is the one to a check that is turned away.
func (w *worker) empty() bool {
	return w.response.StatusCode() == 200 && string(w.response.Body()) == emptyList
}

// excuse notes, once an answer, that an empty list came where something else was due:
// the server has to have counted it.
func (w *worker) excuse(c *check, why func() string) {
	if !w.excused && !w.r.blind.Load() {
		c.hold(false, why)
	}
	w.excused = true
}

// refusal is the class of an answer to an update check that is to be refused.
func (w *worker) refusal(status int) string {
	if w.empty() {
		return classShed
	}
	return w.refused(status)
}

// refusedWith looks whether an update check was refused with a status. One that was
// turned away before was not.
func (w *worker) refusedWith(status int) bool {
	why := w.unexpected(w.response.StatusCode(), status)
	if w.empty() {
		w.excuse(w.r.excused.codes, why)
		return false
	}
	w.r.checks.codes.hold(w.response.StatusCode() == status, why)
	return true
}

func (w *worker) unexpected(status, want int) func() string {
	return func() string {
		return fmt.Sprintf("device %d was answered %d and not %d: %.200s", w.device.Index, status, want, w.response.Body())
	}
}

// tokenless restores without a token, as a new device does. It is refused as soon as one
// of its apps wants people to sign in.
func (w *worker) tokenless(j *job) bool {
	w.post(pathRestore, nil)
	rp, ok := w.exchange(j.due, w.restores)
	if !ok {
		return false
	}
	want := 200
	for i := range w.apps {
		if h := w.r.truth.items[w.apps[i].Item]; h == nil || (*h.states.Load())[0].item.SignIn != catalog.SignInNone {
			want = 401
		}
	}
	w.r.checks.codes.hold(rp.status == want, w.unexpected(rp.status, want))
	if rp.status == 200 && want == 200 {
		w.judgeRestore(j, rp, "")
	}
	return true
}

// expired asks with a token whose time is over. What a device does then is the affair
// of the scenarios with refreshes.
func (w *worker) expired(j *job) bool {
	if w.r.ring == nil { // of a server whose keys nobody knows: another that is no good
		w.token = append(w.token[:0], foreignToken...)
	} else {
		w.mint(accessLife+time.Hour, accessLife)
	}
	w.post(pathUpdates, w.token)
	_, ok := w.exchange(j.due, w.refusal)
	return ok && w.refusedWith(403)
}

// foreignToken has the form of an access token and is nobody's.
var foreignToken = func() []byte {
	b := make([]byte, token.AccessLen)
	for i := range b {
		b[i] = "AQ"[i%2]
	}
	return b
}()

// wrong sends a body that can't be taken. Of one that is too large no more is sent than
// what a client has on its way when the answer comes.
func (w *worker) wrong(j *job) {
	want := 400
	w.body = appendApps(w.body[:0], &w.device, w.apps)
	w.body = w.body[:len(w.body)*2/3]
	if j.kind == population.Oversized {
		want = 413
		w.out = appendHead(w.out[:0], w.r.host, pathUpdates, jsonType, w.token, tooLarge)
		w.out = append(w.out, w.body...)
	} else {
		w.out = appendPost(w.out[:0], w.r.host, pathUpdates, jsonType, w.token, w.body)
	}
	_, ok := w.exchange(j.due, w.refusal)
	if j.kind == population.Oversized {
		w.line.close()
	}
	if ok {
		w.refusedWith(want)
	}
}

const tooLarge = 32 << 20 // more than limits.body can be

// retry tries again what had no good answer, where the scenario says when.
func (w *worker) retry(j *job) {
	if w.r.scenario.retry == nil {
		return
	}
	again := *j
	again.try++
	w.r.scenario.retry(again, w.r.clock.since())
}

// How often an answer is looked at more closely: one in so many, by a hash of device
// and time. To verify a signature takes the generator as long as three requests; of few
// devices it can do so more often, and has to, so that there is something to see.
const (
	fewDevices = 20_000

	whatSticky, whatSignature = 1, 2
)

func (r *run) stickyEvery() uint64 {
	if r.c.Devices <= fewDevices {
		return 4
	}
	return 16
}

func (r *run) signatureEvery() uint64 {
	if r.c.Devices <= fewDevices {
		return 4
	}
	return 32
}

func (w *worker) sampled(j *job, what, every uint64) bool {
	return mix(j.device, uint64(j.at), what) < 1/float64(every)
}
