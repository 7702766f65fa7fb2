package population

import "math"

// clusters is how many kinds of apps there are in a catalogue of 2000: stores have some
// twenty categories.
const (
	perCluster  = 100
	maxClusters = 20
	inCluster   = 0.7 // of a device's apps are of the kind that it likes
)

// draws are the popularities of apps, ready to be drawn from.
type draws struct {
	all      dice
	kinds    dice   // which cluster a device likes: as popular as its apps are
	clusters []dice // of the apps of each
}

// newDraws gives each app a popularity by its place, by Zipf's law with s = 1, and a
// cluster. Apps with a base of their own are not drawn.
func newDraws(seed uint64, apps []App) draws {
	var d draws
	n := min(max(len(apps)/perCluster, 1), maxClusters)
	members := make([][]face, n)
	var all []face
	for i := range apps {
		if apps[i].Base > 0 {
			continue
		}
		f := face{int32(i), 1 / float64(len(all)+1)}
		c := below(hash(seed, uint64(i), nameClusterOf), uint64(n))
		members[c] = append(members[c], f)
		all = append(all, f)
	}
	d.all = newDice(all)
	var kinds []face
	for c, m := range members {
		weight := 0.0
		for _, f := range m {
			weight += f.weight
		}
		d.clusters = append(d.clusters, newDice(m))
		kinds = append(kinds, face{int32(c), weight})
	}
	d.kinds = newDice(kinds)
	return d
}

// dice is a weighted draw: a table of aliases (Walker; Vose, "A Linear Algorithm for
// Generating Random Numbers with a Given Distribution", 1991), so that a draw is one
// look-up however many there are.
type dice struct {
	sides []side
}

// face is what may be drawn.
type face struct {
	value  int32
	weight float64
}

type side struct {
	keep       float64 // below it the first, otherwise the second
	own, alias int32
}

func newDice(faces []face) dice {
	n := len(faces)
	d := dice{make([]side, n)}
	weight, sum := make([]float64, n), 0.0
	for i := range faces {
		weight[i] = faces[i].weight
		sum += weight[i]
	}
	var small, large []int
	for i := range weight {
		d.sides[i] = side{1, faces[i].value, faces[i].value}
		if weight[i] *= float64(n) / sum; weight[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		d.sides[s].keep, d.sides[s].alias = weight[s], faces[l].value
		if weight[l] -= 1 - weight[s]; weight[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	return d
}

// roll draws; -1 = there is nothing to draw.
//
// hot: for each app of each device.
func (d *dice) roll(h uint64) int {
	if len(d.sides) == 0 {
		return -1
	}
	x := unit(h) * float64(len(d.sides))
	s := &d.sides[int(x)]
	if x-math.Floor(x) < s.keep {
		return int(s.own)
	}
	return int(s.alias)
}

// maxApps is the most apps that a device has.
const maxApps = 100

// geometric returns, for each number of apps beyond the first, the hash below which a
// device has no more: their mean is mean-1.
func geometric(mean float64) []uint64 {
	end := 1 / mean // the chance of each app to be the last
	var list []uint64
	for k, left := 1, 1.0; k < maxApps && left > 1e-18; k++ {
		left *= 1 - end
		list = append(list, uint64((1-left)*(1<<63))*2)
	}
	return list
}
