package market

import "cmp"

// Configuration is the document /.well-known/marketplace-kit. Its keys are those
// that a device reads.
type Configuration struct {
	Restore   string                    `json:"restore"`
	Restores  *Restores                 `json:"restores,omitempty"`
	Updates   Updates                   `json:"updates"`
	License   Licensing                 `json:"license"`
	OAuth     any                       `json:"oauth,omitempty"`
	Overrides map[string]*Configuration `json:"overridesByAppleItemID,omitempty"`
}

// Restores is the form of restore that no document describes.
type Restores struct {
	URL       string `json:"url"`
	BatchSize int    `json:"batchSize"`
}

// Updates says where and how often a device asks for updates.
type Updates struct {
	URL             string `json:"url"`
	PollingInterval int    `json:"pollingInterval"` // hours
}

// Licensing are the URLs of the licence service.
type Licensing struct {
	Dynamic               string `json:"dynamicLicenseURL"`
	SigningCertificate    string `json:"signingCertificateURL"`
	EncryptionCertificate string `json:"encryptionCertificateURL"`
	Renewal               string `json:"licenseRenewalURL"`
	Resolution            string `json:"licenseResolutionURL"`
}

// Configuration makes the document for a public URL. hours is how often devices look
// for updates, but for the apps whose override says it; batch is the most apps that one
// request may name, oauth the metadata of the authorization server.
func (c *Config) Configuration(public string, hours, batch int, oauth any) *Configuration {
	base := c.Discovery
	base.PollingInterval = hours
	doc := base.configuration(public, batch, oauth)
	for id, o := range c.Overrides {
		if doc.Overrides == nil {
			doc.Overrides = map[string]*Configuration{}
		}
		// A device takes the override instead of everything else, so it has to be whole.
		doc.Overrides[id] = o.over(base).configuration(public, batch, oauth)
	}
	return doc
}

// over fills what d leaves out from base.
func (d Discovery) over(base Discovery) *Discovery {
	return &Discovery{
		Restore: cmp.Or(d.Restore, base.Restore), Updates: cmp.Or(d.Updates, base.Updates),
		PollingInterval: cmp.Or(d.PollingInterval, base.PollingInterval), License: cmp.Or(d.License, base.License),
		SigningCertificate:    cmp.Or(d.SigningCertificate, base.SigningCertificate),
		EncryptionCertificate: cmp.Or(d.EncryptionCertificate, base.EncryptionCertificate),
		LicenseRenewal:        cmp.Or(d.LicenseRenewal, base.LicenseRenewal),
		LicenseResolution:     cmp.Or(d.LicenseResolution, base.LicenseResolution),
		AnnounceRestores:      d.AnnounceRestores || base.AnnounceRestores,
		AnnounceOAuth:         d.AnnounceOAuth || base.AnnounceOAuth,
	}
}

func (d *Discovery) configuration(public string, batch int, oauth any) *Configuration {
	doc := &Configuration{
		Restore: cmp.Or(d.Restore, public+"/restore"),
		Updates: Updates{URL: cmp.Or(d.Updates, public+"/updates"), PollingInterval: d.PollingInterval},
		License: Licensing{
			Dynamic:               cmp.Or(d.License, public+"/license"),
			SigningCertificate:    cmp.Or(d.SigningCertificate, public+"/license/certificates/signing"),
			EncryptionCertificate: cmp.Or(d.EncryptionCertificate, public+"/license/certificates/encryption"),
			Renewal:               cmp.Or(d.LicenseRenewal, public+"/license/renew"),
			Resolution:            cmp.Or(d.LicenseResolution, public+"/license/resolve"),
		},
	}
	if d.AnnounceRestores {
		doc.Restores = &Restores{URL: doc.Restore, BatchSize: batch}
	}
	if d.AnnounceOAuth {
		doc.OAuth = oauth
	}
	return doc
}
