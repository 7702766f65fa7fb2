package population

import "math/bits"

// The names of the properties.
const (
	nameAsks = iota + 1
	nameKind
	nameHome
	nameWander
	nameMoment
	nameTapper
	nameTapped
	nameOS
	namePlatform
	nameTerritory
	nameClient
	nameCount
	nameBased
	nameApp
	nameCluster
	nameClusterOf
	nameLag
	nameFast
	nameTaken
	nameTakes
	nameTop
	nameRelease
	nameNeeds
	nameSampled
)

// hash is a property of something: of a device, a day, an app. Its bits are as good as
// independent of those of any other name and number.
//
// hot: a few nanoseconds; several for each request.
func hash(seed, of uint64, name uint64) uint64 {
	return mix(mix(seed^name*0x9e3779b97f4a7c15) ^ of*0xd6e8feb86659fd93)
}

// mix spreads each bit over all others (Stafford's variant 13 of MurmurHash3's finaliser).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// stream is a sequence of hashes (SplitMix64), for what needs more than one.
type stream uint64

func (s *stream) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	return mix(uint64(*s))
}

// below makes a hash a number less than n, without bias that anybody could see.
func below(h, n uint64) uint64 {
	hi, _ := bits.Mul64(h, n)
	return hi
}

// unit makes a hash a number in [0, 1).
func unit(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// chance says whether a hash falls into a share.
func chance(h uint64, share float64) bool { return unit(h) < share }
