package policy

import (
	"strconv"

	"github.com/souk-market/souk/sdk/go/value"
)

// New reads the plugin's configuration.
func New(config []byte) (Rollout, error) {
	var r Rollout
	root, err := value.Parse(config)
	if err != nil {
		return r, err
	}
	err = root.Table(func(key string, v value.Value) (err error) {
		switch key {
		case "while_held":
			r.HoldAll, err = second(v, "previous", "nothing")
		case "critical":
			r.CriticalAlways, err = second(v, "phased", "always")
		default:
			err = v.Unknown()
		}
		return err
	})
	return r, err
}

// second reports whether a text is the second of two words.
func second(v value.Value, first, other string) (bool, error) {
	word, err := v.Text()
	if err != nil {
		return false, err
	}
	if word != first && word != other {
		return false, v.Wrong("want " + strconv.Quote(first) + " or " + strconv.Quote(other) + ", not " + strconv.Quote(word))
	}
	return word == other, nil
}
