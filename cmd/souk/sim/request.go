package sim

import (
	"strconv"

	"github.com/souk-market/souk/cmd/souk/sim/population"
	"github.com/souk-market/souk/core/catalog"
)

// appendPost appends a request as a device sends it. Without a token there is no
// Authorization header.
func appendPost(b []byte, host, path, mediaType string, token, body []byte) []byte {
	b = appendHead(b, host, path, mediaType, token, len(body))
	return append(b, body...)
}

func appendHead(b []byte, host, path, mediaType string, token []byte, length int) []byte {
	b = append(append(b, "POST "...), path...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), host...)
	b = append(b, "\r\nAccept: */*\r\nAccept-Language: en-GB,en;q=0.9\r\nUser-Agent: ManagedAppDistribution/1.0 iOS/26.1 model/iPhone17,3 build/23B85\r\nContent-Type: "...)
	b = append(b, mediaType...)
	if token != nil {
		b = append(append(b, "\r\nAuthorization: Bearer "...), token...)
	}
	b = append(b, "\r\nContent-Length: "...)
	return append(strconv.AppendInt(b, int64(length), 10), "\r\n\r\n"...)
}

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"

	pathUpdates = "/updates"
	pathRestore = "/restore"
	pathToken   = "/oauth/token"
)

// appendApps appends the body that update checks and restores share.
func appendApps(b []byte, d *population.Device, apps []population.Installed) []byte {
	b = append(b, `{"apps":[`...)
	for i, a := range apps {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"appleItemId":"`...)
		b = strconv.AppendUint(b, a.Item, 10)
		b = append(b, `","appleVersionId":"`...)
		b = strconv.AppendUint(b, a.Version, 10)
		b = append(b, `"}`...)
	}
	b = append(b, `],"platform":"`...)
	if d.Platform == catalog.IPadOS {
		b = append(b, "iPadOS"...)
	} else {
		b = append(b, "iOS"...)
	}
	b = append(b, `","osVersion":"`...)
	b = appendOS(b, d.OS)
	return append(b, `"}`...)
}

// appendOS writes a system as devices do: "26.1", and "26.1.2".
func appendOS(b []byte, os uint32) []byte {
	b = strconv.AppendUint(b, uint64(os>>16), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(os>>8&0xff), 10)
	if patch := os & 0xff; patch > 0 {
		b = append(b, '.')
		b = strconv.AppendUint(b, uint64(patch), 10)
	}
	return b
}
