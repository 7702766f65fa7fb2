package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// record is what the store keeps for an item id. Imported is the digest of what the
// operator's file last said about the item, empty if no file ever did. A removed item
// that came from a file leaves its record behind as Gone, so that the next start does
// not import it again.
type record struct {
	Item     stored `json:"item"`
	Imported string `json:"imported,omitempty"`
	Gone     bool   `json:"gone,omitempty"`
}

// stored is an Item without the strict reading: a record was validated when it was
// written, perhaps by a newer program that knows more keys.
type stored Item

// recordOverhead is an upper bound of what a record takes besides its item.
const recordOverhead = 256

func (r *record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode item %d: %w", r.Item.ID, err)
	}
	return b, nil
}

func decodeRecord(id uint64, value []byte) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(value, r); err != nil {
		return nil, fmt.Errorf("read item %d: %w", id, err)
	}
	if r.Item.ID != id {
		return nil, fmt.Errorf("read item %d: catalog: record says it is item %d", id, r.Item.ID)
	}
	return r, nil
}

// importDigest is what a record remembers of the file's item, which must be normalised.
func importDigest(it Item) (string, error) {
	b, err := json.Marshal(it)
	if err != nil {
		return "", fmt.Errorf("encode item %d: %w", it.ID, err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16]), nil
}

// digest tells one stored value from another.
type digest [16]byte

func digestOf(value []byte) digest {
	sum := sha256.Sum256(value)
	return digest(sum[:16])
}
