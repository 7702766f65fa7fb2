package store

import "encoding/binary"

// The map of the store. A key is table, part, sub; all parts are of fixed width or
// one literal, and the engine keeps part and sub apart by length.
//
//	table  part                       sub            value                       expires                reader
//	A      "cat"                      item id, 8     the catalogue's JSON        never                  CatalogItems
//	E      "e"                        subject, 16    epoch, 5                    never, see signout.go  SigningOut
//	F      family id, 16              –              Family, 73                  its idle life          Family
//	G      SHA-256 of the name, 16    –              until when guesses count, 9 then                   Attempts
//	H      item id, 8, and bucket, 1  subject, 16    listed at, 9                never, see ItemLicenses  ItemLicenses
//	I      bucket, 1 (accountBucket)  subject, 16    account name                never                  Accounts
//	K      "ring"                     –              sealed key ring             never                  KeyRing
//	L      subject, 16                item id, 8     licences, 2 + 37 each       a month after the last  Licenses
//	M      "format"                   –              format of the store, 5      never                  Open
//	M      "recovery"                 –              Recovery, 17                never                  Recovery
//	N      licence id, 8              –              subject and item id, 25     half a year later       License
//	O      "polling"                  –              Polling, 22                 when it ends           Polling
//	P      plugin name                plugin's key   plugin's bytes              as the plugin says     KV
//	R      "client"                   client id      Client, 62 + strings        never                  Clients
//	S      subject, 16                family id, 16  listed at, 9                never, see listFamily  Sessions
//	T      SHA-256 of the token, 32   –              SubjectToken, 7 + strings   with the token         SubjectToken
//	U      subject, 16                –              Account                     never                  Account
//	X      "x"                        family id, 16  until, 9                    until                  Revocations
//
// A subject is the first half of the SHA-256 of the account's name. Numbers are
// big endian. Values that this package encodes begin with the version of their
// format, which is 1, of an account that has devices 2; a value of the catalogue, the
// key ring or a plugin is stored as it came.
//
// F, G, H, I, L, N, P, S, T and U spread over shards by their part. A, E, K, M, O, R
// and X are small and live on one shard each.
const (
	tableCatalog      = 'A'
	tableSignOut      = 'E'
	tableFamily       = 'F'
	tableAttempts     = 'G'
	tableHolder       = 'H'
	tableAccountIndex = 'I'
	tableKeyRing      = 'K'
	tableLicense      = 'L'
	tableMeta         = 'M'
	tableNumber       = 'N'
	tableOperator     = 'O'
	tablePlugin       = 'P'
	tableClient       = 'R'
	tableSession      = 'S'
	tableSubjectToken = 'T'
	tableAccount      = 'U'
	tableRevocation   = 'X'

	partCatalog     = "cat"
	partClients     = "client"
	partKeyRing     = "ring"
	partFormat      = "format"
	partPolling     = "polling"
	partRecovery    = "recovery"
	partRevocations = "x"
	partSignOuts    = "e"
)

// accountBuckets is how many parts the index of accounts has. A part is scanned
// in order, so the whole index is in the order of subjects.
const accountBuckets = 64

func familyKey(id [16]byte) Key { return Key{Table: tableFamily, Part: string(id[:])} }

func accountKey(subject [16]byte) Key { return Key{Table: tableAccount, Part: string(subject[:])} }

func accountIndexKey(subject [16]byte) Key {
	return Key{Table: tableAccountIndex, Part: accountBucket(bucketOf(subject)), Sub: string(subject[:])}
}

func bucketOf(subject [16]byte) int { return int(subject[0]) * accountBuckets / 256 }

func accountBucket(n int) string { return string([]byte{byte(n)}) }

func sessionKey(subject, family [16]byte) Key {
	return Key{Table: tableSession, Part: string(subject[:]), Sub: string(family[:])}
}

func subjectTokenKey(hash [32]byte) Key { return Key{Table: tableSubjectToken, Part: string(hash[:])} }

func revocationKey(id [16]byte) Key {
	return Key{Table: tableRevocation, Part: partRevocations, Sub: string(id[:])}
}

func signOutKey(subject [16]byte) Key {
	return Key{Table: tableSignOut, Part: partSignOuts, Sub: string(subject[:])}
}

func catalogKey(id uint64) Key {
	return Key{Table: tableCatalog, Part: partCatalog, Sub: string(binary.BigEndian.AppendUint64(nil, id))}
}

func pluginKey(plugin string, key []byte) Key {
	return Key{Table: tablePlugin, Part: plugin, Sub: string(key)}
}

func clientKey(id string) Key { return Key{Table: tableClient, Part: partClients, Sub: id} }

func attemptKey(id [16]byte) Key { return Key{Table: tableAttempts, Part: string(id[:])} }

func licenseKey(subject [16]byte, item uint64) Key {
	return Key{Table: tableLicense, Part: string(subject[:]), Sub: string(binary.BigEndian.AppendUint64(nil, item))}
}

func numberKey(id uint64) Key {
	return Key{Table: tableNumber, Part: string(binary.BigEndian.AppendUint64(nil, id))}
}

func holderKey(item uint64, subject [16]byte) Key {
	return Key{Table: tableHolder, Part: holderPart(item, subject[0]/(256/holderParts)), Sub: string(subject[:])}
}

func holderPart(item uint64, n byte) string {
	return string(append(binary.BigEndian.AppendUint64(nil, item), n))
}

func keyRingKey() Key { return Key{Table: tableKeyRing, Part: partKeyRing} }

func pollingKey() Key { return Key{Table: tableOperator, Part: partPolling} }

func formatKey() Key { return Key{Table: tableMeta, Part: partFormat} }

func recoveryKey() Key { return Key{Table: tableMeta, Part: partRecovery} }
