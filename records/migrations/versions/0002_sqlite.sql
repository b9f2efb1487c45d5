-- Copy the promotion history to a table with another constraint. Blank lines separate the statements.
create table ledger_copy (
    id integer not null primary key, time datetime not null, who varchar(200) not null,
    event varchar(20) not null check (event in ('promoted', 'updated', 'refused', 'rolled back')),
    model varchar(200) not null, version varchar(20) not null, champion_before varchar(20), reason text not null,
    digest varchar(64), forced boolean, turn integer
);

insert into ledger_copy (id, time, who, event, model, version, champion_before, reason, digest, forced, turn)
select id, time, who, event, model, version, champion_before, reason, digest, forced, turn from ledger;

drop table ledger;

alter table ledger_copy rename to ledger;

create unique index ledger_turns on ledger (model, turn);

create trigger ledger_no_update before update on ledger
begin select raise(abort, 'the promotion history is append-only'); end;

create trigger ledger_no_delete before delete on ledger
begin select raise(abort, 'the promotion history is append-only'); end;

-- `insert or replace` deletes rows without firing the delete trigger
create trigger ledger_no_replace before insert on ledger
when exists (select 1 from ledger where id = new.id or (model = new.model and turn = new.turn))
begin select raise(abort, 'the promotion history is append-only'); end;
