package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/store/backup"
)

// recoverCommand makes a data directory of backups.
type recoverCommand struct {
	Check            bool      `help:"Only read the files, to their ends, and say what they hold. Writes nothing."`
	Files            []string  `arg:"" optional:"" name:"file" help:"With --check: the files, in order."`
	From             []string  `sep:"none" placeholder:"FILE" help:"A full backup; again for each file that builds on it, in order."`
	Data             string    `placeholder:"DIR" help:"The new data directory. It has to be empty, or not there."`
	Audit            string    `placeholder:"DIR" help:"The folder audit of the old data directory, as far as it is left: what ended sign-ins, clients or licences since the backup is done again, and the new server goes on with it."`
	KeyFile          string    `placeholder:"FILE" help:"The old souk.key, to see whether it opens the key ring in the backup. Or put the key into SOUK_KEY."`
	EndSessionsSince time.Time `placeholder:"TIME" help:"End every sign-in that was begun or used at this time or later, and all access tokens: for when a backup or the directory may have been stolen. Like 2030-01-31T10:00:00Z."`
	JSON             bool      `name:"json" help:"Print JSON, for machines."`
}

// Help says more than one line does.
func (c *recoverCommand) Help() string {
	return `All files are read to their ends first: one that is cut off, changed, mixed up or
written by a newer version is refused before anything is written, and so is a
directory with anything in it.

What happened after the last backup is gone, but for what the audit log tells: who
was signed out stays signed out, and a client that was removed or disabled stays
so. What is used once (codes, install links) and was
issued before the recovery is refused. Put souk.key back into the directory before
the server starts.

--end-sessions-since is not enough if somebody may have souk.key as well, which lies
in the data directory unless token.key_file or SOUK_KEY says otherwise: with it and
the store tokens can be made. Then have "souk key rotate" make a new key, and end all
before it with "souk key retire --force".`
}

// Run recovers, or only checks.
func (c *recoverCommand) Run(std *streams) error {
	switch {
	case c.Check && (len(c.From) > 0 || c.Data != ""):
		return errors.New("--check: takes the files alone: souk recover --check FULL NEXT …")
	case c.Check && len(c.Files) == 0:
		return errors.New("--check: name the files, the full backup first")
	case c.Check:
		return c.check(std)
	case len(c.Files) > 0:
		return fmt.Errorf("%s: a file to recover from comes with --from, one only to look at with --check", c.Files[0])
	case len(c.From) == 0:
		return errors.New("--from: is missing: name the full backup, and again each file that builds on it")
	case c.Data == "":
		return errors.New("--data: is missing: name the new data directory")
	case c.EndSessionsSince.After(time.Now()):
		return fmt.Errorf("--end-sessions-since: %s is yet to come", c.EndSessionsSince.Format(time.RFC3339))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	done, err := core.Recover(ctx, core.RecoverOptions{
		From: c.From, Data: c.Data, Audit: c.Audit, Key: os.Getenv("SOUK_KEY"), KeyFile: c.KeyFile, EndSince: c.EndSessionsSince,
		Log: slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn})), Progress: std.progress,
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("interrupted: nothing was recovered, and %s is as it was", c.Data)
	case err != nil:
		return fmt.Errorf("%w\nnothing was recovered, and %s is as it was", err, c.Data)
	}
	if c.JSON {
		return std.printJSON(c.report(done))
	}
	return c.print(std, &done)
}

func (c *recoverCommand) check(std *streams) error {
	files, err := core.CheckBackups(context.Background(), c.Files, nil, std.progress)
	if c.JSON {
		list := []backupFile{}
		for _, f := range files {
			list = append(list, fileJSON(f))
		}
		return errors.Join(std.printJSON(map[string]any{"files": list, "whole": err == nil}), err)
	}
	printFiles(std, files)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "whole: a store as of %s can be made of it\n", files[len(files)-1].Header.Begun.Format(time.RFC3339))
	return err
}

func printFiles(std *streams, files []backup.File) {
	for i, f := range files {
		kind := "full"
		if f.Header.Since != nil {
			kind = "since " + f.Header.SinceBegun.Format(time.RFC3339)
			if i > 0 && files[i-1].Ref == *f.Header.Since {
				kind = "since " + filepath.Base(files[i-1].Name)
			}
		}
		fmt.Fprintf(std.out, "%s: %s, as of %s, store of format %d, %s\n", f.Name, kind, f.Header.Begun.Format(time.RFC3339), f.Header.Format, contents(f))
	}
}

// print tells what was done, what could not be, and what is left to do.
func (c *recoverCommand) print(std *streams, r *core.Recovered) error {
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	say := func(what, format string, args ...any) {
		fmt.Fprintf(std.out, "%-12s %s\n", what, fmt.Sprintf(format, args...))
	}
	printFiles(std, r.Files)
	say("recovered", "%d records into %s", r.Records, c.Data)
	if r.Audit.Given {
		say("ended", "%d sign-ins that had been ended since the backup; the audit has %d entries of that time", r.Ended, r.Audit.Entries)
	}
	if len(r.Clients) > 0 {
		say("ended", "what the clients %s had lost since the backup: sign-ins, secrets, redirect URIs", names(r.Clients))
	}
	if r.Licenses > 0 {
		say("ended", "%d licences that had been revoked since the backup", r.Licenses)
	}
	for _, id := range r.Retired {
		say("retired", "key %d, as before", id)
	}
	if !r.EndedSince.IsZero() {
		say("ended", "%d sign-ins begun or used since %s, and every access token issued until %s", r.Since, at(r.EndedSince), at(r.Refused))
		if !r.EndedSince.Equal(c.EndSessionsSince) {
			say("", "that time is of an earlier recovery, says the audit")
		}
		say("", "if souk.key may be in wrong hands too: souk key rotate, then souk key retire --force for each key before, and everybody signs in again")
	}
	say("refused", "codes, install links and subject tokens issued before %s; tokens of other issuers until %s", at(r.At), at(r.Strangers))
	say("not covered", "%s (the backup) to %s (now): whoever signed in then signs in again, and a refresh token that was replaced then may be used once more", at(r.Begun), at(r.At))
	a := &r.Audit
	switch {
	case !a.Given:
		say("", "what was ended in that time may be good again: there was no --audit")
	default:
		if a.SignIns > 0 {
			say("", "%d sign-ins of that time are gone, says the audit", a.SignIns)
		}
		if a.First.After(r.Begun) {
			say("", "the audit begins at %s: what was ended before may be good again", at(a.First))
		}
		say("", "what was ended after %s, the last entry of the audit, may be good again", at(a.Last))
	}
	for _, err := range a.Damage {
		say("", "%v: what was ended there may be good again", err)
	}
	if len(a.Rotated) > 0 {
		say("", "the keys %s were made in that time and are lost: whoever has tokens under them signs in again", strings.Join(a.Rotated, ", "))
	}
	if len(a.Changes) > 0 {
		say("to do again", "what was changed since the backup:")
		for _, e := range a.Changes {
			say("", "  %s", change(e))
		}
	}
	for _, id := range r.Secrets {
		say("to do again", "souk client rotate-secret %s: its secret was changed since the backup, and neither is good now", printable(id))
	}
	ring := "not looked at: there was no --key-file"
	if r.Checked {
		ring = "the key that was given opens the key ring"
	}
	say("to put back", "souk.key, without which the server does not start (%s)", ring)
	say("", "install.pem, or devices take no install tokens; admin.token, or there is another one; config.toml and modules of plugins")
	return nil
}

// names are ids of clients, in a line.
func names(ids []string) string {
	shown := make([]string, len(ids))
	for i, id := range ids {
		shown[i] = printable(id)
	}
	return strings.Join(shown, ", ")
}

// change is an entry of the audit in a line.
func change(e audit.Entry) string {
	words := []string{e.Time.UTC().Format(time.RFC3339), string(e.Kind)}
	if e.Account != "" {
		words = append(words, printable(e.Account))
	}
	if e.Item != 0 {
		words = append(words, fmt.Sprint(e.Item))
	}
	for _, list := range []struct {
		sign  string
		texts []string
	}{{"+", e.Added}, {"-", e.Removed}} {
		for _, text := range list.texts {
			words = append(words, list.sign+printable(text))
		}
	}
	keys := make([]string, 0, len(e.Detail))
	for k := range e.Detail {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		words = append(words, k+"="+printable(e.Detail[k]))
	}
	return strings.Join(words, " ")
}

// report is what is printed for machines.
func (c *recoverCommand) report(r core.Recovered) any {
	files := []backupFile{}
	for _, f := range r.Files {
		files = append(files, fileJSON(f))
	}
	retired := []int{}
	for _, id := range r.Retired {
		retired = append(retired, int(id))
	}
	damage := []string{}
	for _, err := range r.Audit.Damage {
		damage = append(damage, err.Error())
	}
	return struct {
		Files       []backupFile  `json:"files"`
		Data        string        `json:"data"`
		Records     uint64        `json:"records"`
		Begun       time.Time     `json:"begun"`
		At          time.Time     `json:"at"`
		Ended       int           `json:"ended"`
		EndedSince  int           `json:"ended_since"`
		Retired     []int         `json:"retired_keys"`
		Licenses    int           `json:"licenses_ended"`
		Clients     []string      `json:"clients_ended"`
		Secrets     []string      `json:"clients_without_secret"`
		KeyChecked  bool          `json:"key_checked"`
		Strangers   time.Time     `json:"foreign_tokens_from"`
		AuditGiven  bool          `json:"audit_given"`
		AuditFirst  time.Time     `json:"audit_first,omitzero"`
		AuditLast   time.Time     `json:"audit_last,omitzero"`
		AuditDamage []string      `json:"audit_damage"`
		SignIns     int           `json:"sign_ins_lost"`
		LostKeys    []string      `json:"keys_lost"`
		Again       []audit.Entry `json:"changes_to_make_again"`
	}{
		files, c.Data, r.Records, r.Begun, r.At, r.Ended, r.Since, retired, r.Licenses, append([]string{}, r.Clients...), append([]string{}, r.Secrets...), r.Checked, r.Strangers,
		r.Audit.Given, r.Audit.First, r.Audit.Last, damage, r.Audit.SignIns, append([]string{}, r.Audit.Rotated...), append([]audit.Entry{}, r.Audit.Changes...),
	}
}
