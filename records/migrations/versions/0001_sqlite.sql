-- The schema of revision 0001. Blank lines separate the statements.
create table if not exists predictions (
    request_id varchar(64) not null, position integer not null, model varchar(40) not null, time datetime not null,
    route varchar(40) not null, version varchar(20) not null, prediction integer not null, confidence float not null,
    uncertain boolean not null, reason varchar(20), latency_ms float not null, client varchar(32) not null,
    primary key (request_id, position, model)
);

create table if not exists pictures (
    request_id varchar(64) not null, position integer not null, time datetime not null, dataset varchar(40) not null,
    digest varchar(64) not null, pixels blob not null,
    primary key (request_id, position)
);

create table if not exists labels (
    id integer not null primary key, request_id varchar(64) not null, position integer not null, time datetime not null,
    label integer, client varchar(32) not null
);

create table if not exists reviews (
    id integer not null primary key, label_id integer not null, time datetime not null, who varchar(200) not null,
    accepted boolean not null
);

create table if not exists monitoring (
    id integer not null primary key, time datetime not null, status integer not null, figures json not null
);

create table if not exists secrets (name varchar(40) not null primary key, value varchar(200) not null);

create table if not exists ledger (
    id integer not null primary key, time datetime not null, who varchar(200) not null,
    event varchar(20) not null check (event in ('promoted', 'refused', 'rolled back')),
    model varchar(200) not null, version varchar(20) not null, champion_before varchar(20), reason text not null,
    digest varchar(64), forced boolean, turn integer
);

create index if not exists ix_predictions_time on predictions (time);

create index if not exists ix_pictures_time on pictures (time);

create index if not exists ix_labels_request_id on labels (request_id);

create index if not exists ix_reviews_label_id on reviews (label_id);

create unique index if not exists ledger_turns on ledger (model, turn);

drop trigger if exists ledger_no_update;

drop trigger if exists ledger_no_delete;

drop trigger if exists ledger_no_replace;

create trigger ledger_no_update before update on ledger
begin select raise(abort, 'the promotion history is append-only'); end;

create trigger ledger_no_delete before delete on ledger
begin select raise(abort, 'the promotion history is append-only'); end;

-- `insert or replace` deletes rows without firing the delete trigger
create trigger ledger_no_replace before insert on ledger
when exists (select 1 from ledger where id = new.id or (model = new.model and turn = new.turn))
begin select raise(abort, 'the promotion history is append-only'); end;
